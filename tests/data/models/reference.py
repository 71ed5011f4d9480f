#!/usr/bin/env python3
"""Logits of tiny models from the papers' formulas, in double precision, for what candle has no model for.
Writes reference.json and reference.bin beside itself. Run by hand, with numpy 2 and gguf 0.19:

    python3 tests/data/models/reference.py FOLDER      # of NAME.gguf and NAME.json, the prompt

Sources: RMSNorm arXiv 1910.07467, SwiGLU 2002.05202, RoPE 2104.09864, grouped queries 2305.13245, YaRN
2309.00071, LongRoPE 2402.13753; LFM2's short convolutions as transformers has them (Lfm2ShortConv);
SmolLM3 leaves RoPE out of every fourth layer (2501.18795). Files of llama's kind keep queries and keys
permuted, so that neighbours are rotated together.
"""
import hashlib
import json
import pathlib
import sys

import numpy as np
from gguf import GGUFReader
from gguf.quants import dequantize

HERE = pathlib.Path(__file__).parent
DRAWN = 16


class Model:
    def __init__(self, path):
        reader = GGUFReader(path)
        self.meta = {k: f.contents() for k, f in reader.fields.items()}
        self.arch = self.meta["general.architecture"]
        self.t = {
            t.name: dequantize(t.data, t.tensor_type).astype(np.float64) for t in reader.tensors
        }
        self.layers = self.get("block_count")
        self.heads = self.get("attention.head_count")
        heads = self.get("attention.head_count_kv")
        self.kv_heads = max(heads) if isinstance(heads, list) else heads
        self.n = self.get("attention.key_length")
        self.eps = self.get("attention.layer_norm_rms_epsilon")
        self.frequencies, self.magnitude = self.rope()
        self.cache = [([], []) for _ in range(self.layers)]

    def get(self, key, default=None):
        return self.meta.get(f"{self.arch}.{key}", default)

    def rope(self):
        """Angle of each pair at position 1, and the factor on cosine and sine."""
        base = self.get("rope.freq_base", 10_000.0)
        n = self.n
        theta = base ** (-2.0 * np.arange(n // 2) / n)
        original = self.get("rope.scaling.original_context_length")
        if self.get("rope.scaling.type") == "yarn":
            s = self.get("rope.scaling.factor")
            # The dimension that turns r times in the original context (equation 17 of YaRN).
            dim = lambda r: n * np.log(original / (r * 2 * np.pi)) / (2 * np.log(base))
            low, high = max(np.floor(dim(32.0)), 0), min(np.ceil(dim(1.0)), n - 1)
            gamma = 1 - np.clip((np.arange(n // 2) - low) / max(high - low, 0.001), 0, 1)
            return (1 - gamma) * theta / s + gamma * theta, 0.1 * np.log(s) + 1
        if "rope_factors_long.weight" in self.t:
            long = self.get("context_length") > original
            factors = self.t[f"rope_factors_{'long' if long else 'short'}.weight"]
            return theta / factors, self.get("rope.scaling.attn_factor")
        return theta, 1.0

    def rotate(self, x, position):
        """x: heads × n."""
        angle = position * self.frequencies
        cos, sin = np.cos(angle) * self.magnitude, np.sin(angle) * self.magnitude
        out = np.empty_like(x)
        if self.arch in ("llama", "smollm3"):
            a, b = x[:, 0::2], x[:, 1::2]
            out[:, 0::2], out[:, 1::2] = a * cos - b * sin, a * sin + b * cos
        else:
            a, b = x[:, : self.n // 2], x[:, self.n // 2 :]
            out[:, : self.n // 2], out[:, self.n // 2 :] = a * cos - b * sin, a * sin + b * cos
        return out

    def norm(self, x, name):
        return x / np.sqrt(np.mean(x * x) + self.eps) * self.t[name]

    def logits(self, token, position):
        x = self.t["token_embd.weight"][token].copy()
        for layer in range(self.layers):
            w = lambda part: self.t[f"blk.{layer}.{part}"]
            h = self.norm(x, f"blk.{layer}.attn_norm.weight")
            if f"blk.{layer}.shortconv.conv.weight" in self.t:
                b, c, u = np.split(w("shortconv.in_proj.weight") @ h, 3)
                seen, _ = self.cache[layer]
                seen.append(b * u)
                taps = w("shortconv.conv.weight")  # channels × positions, the newest last
                y = sum(taps[:, -1 - j] * s for j, s in enumerate(reversed(seen[-taps.shape[1] :])))
                x = x + w("shortconv.out_proj.weight") @ (c * y)
                x = x + self.feed_forward(x, layer)
                continue
            q_dim, kv_dim = self.heads * self.n, self.kv_heads * self.n
            if self.arch == "phi3":
                q, k, v = np.split(w("attn_qkv.weight") @ h, [q_dim, q_dim + kv_dim])
            else:
                q, k, v = (w(f"attn_{p}.weight") @ h for p in "qkv")
                if f"blk.{layer}.attn_q.bias" in self.t:
                    q, k, v = q + w("attn_q.bias"), k + w("attn_k.bias"), v + w("attn_v.bias")
            q, k, v = (y.reshape(-1, self.n) for y in (q, k, v))
            if f"blk.{layer}.attn_q_norm.weight" in self.t:
                q = np.array([self.norm(y, f"blk.{layer}.attn_q_norm.weight") for y in q])
                k = np.array([self.norm(y, f"blk.{layer}.attn_k_norm.weight") for y in k])
            if not (self.arch == "smollm3" and layer % 4 == 3):
                q, k = self.rotate(q, position), self.rotate(k, position)
            keys, values = self.cache[layer]
            keys.append(k)
            values.append(v)
            out = []
            for head in range(self.heads):
                of = head // (self.heads // self.kv_heads)
                scores = np.array([key[of] @ q[head] for key in keys]) / np.sqrt(self.n)
                weights = np.exp(scores - scores.max())
                weights /= weights.sum()
                out.append(sum(a * value[of] for a, value in zip(weights, values)))
            x = x + w("attn_output.weight") @ np.concatenate(out)
            x = x + self.feed_forward(x, layer)
        last = "token_embd_norm.weight" if self.arch == "lfm2" else "output_norm.weight"
        head = self.t.get("output.weight", self.t["token_embd.weight"])
        return head @ self.norm(x, last)

    def feed_forward(self, x, layer):
        w = lambda part: self.t[f"blk.{layer}.{part}"]
        h = self.norm(x, f"blk.{layer}.ffn_norm.weight")
        if self.arch == "phi3":
            gate, up = np.split(w("ffn_up.weight") @ h, 2)
        else:
            gate, up = w("ffn_gate.weight") @ h, w("ffn_up.weight") @ h
        return w("ffn_down.weight") @ (gate / (1 + np.exp(-gate)) * up)


def main():
    # In the order of the test: models, each in three quantizations.
    models = ["smollm3", "yarn", "longrope-long", "longrope-short", "lfm2"]
    names = [f"{m}-{q}" for m in models for q in ("q8_0", "q4_0", "q4k")]
    results, kept = [], []
    for name in names:
        path = pathlib.Path(sys.argv[1]) / f"{name}.gguf"
        model = Model(path)
        tokens = json.loads(path.with_suffix(".json").read_text())
        prompt = len(tokens)
        for position in range(prompt + DRAWN):
            logits = model.logits(tokens[position], position)
            if position + 1 >= prompt:
                kept.append(logits.astype("<f4"))
            if position + 1 == len(tokens) and len(tokens) < prompt + DRAWN:
                tokens.append(int(np.argmax(logits)))
        sha256 = hashlib.sha256(path.read_bytes()).hexdigest()
        results.append({"name": name, "sha256": sha256, "tokens": tokens})
        print(name)
    (HERE / "reference.json").write_text("[\n" + ",\n".join(map(json.dumps, results)) + "\n]\n")
    (HERE / "reference.bin").write_bytes(b"".join(k.tobytes() for k in kept))


main()
