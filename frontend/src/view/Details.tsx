import { useEffect, useState } from 'preact/hooks';
import type { Generation, ChatTurn } from '../bindings/llm.did';
import { ok } from '../ic/backend';
import { speeds } from '../state/chats';
import type { Progress } from '../state/follow';
import { backend, status } from '../state/session';
import { bytes, count, hex, large } from '../text/format';
import { CopyButton } from './CopyButton';
import { Drawer } from './Drawer';
import { Rounds } from './Rounds';

/** On a subnet of 13 nodes: cycles of a message, besides one an instruction. */
const CYCLES_PER_MESSAGE = 5_000_000n;

const ENDS: Record<string, string> = {
  EndOfText: 'the model had said everything',
  MaxTokens: 'the longest answer that was allowed',
  Stop: 'a stop text came',
  ContextFull: 'the context was full',
};

function finish(turn: ChatTurn): string {
  const state = turn.finish[0];
  if (!state) return 'still being written';
  if ('Finished' in state) return ENDS[Object.keys(state.Finished)[0] ?? ''] ?? 'finished';
  if ('Failed' in state) return 'Cancelled' in state.Failed ? 'stopped' : 'failed';
  return 'still being written';
}

/** What an answer took, and how to check it. */
export function Details(props: { turn: ChatTurn; live: Progress | null; onClose: () => void }) {
  const { turn, live } = props;
  const id = turn.generation[0];
  const [kept, setKept] = useState<Generation | null>(null);
  useEffect(() => {
    if (live || id === undefined || !backend.value) return;
    // Only the youngest generations are kept with all their figures.
    const asked = backend.value.canister.generation({ id, from_byte: 0xffff_ffff, from_token: 0xffff_ffff });
    asked.then((result) => setKept(ok(result))).catch(() => setKept(null));
  }, [id, live !== null]);

  const now = live?.generation ?? kept;
  const rounds = live ? [...live.rounds.values()] : (kept?.recent_rounds ?? []);
  const total = now?.rounds ?? turn.rounds;
  const prompt = now?.prompt_instructions;
  const drawn = now?.generate_instructions;
  const instructions = now ? now.prompt_instructions + now.generate_instructions : turn.instructions;
  const tokens = now?.generated_tokens ?? turn.generated_tokens;
  const read = turn.prompt_tokens - turn.cached_tokens;
  const speed = live?.speed ?? (id === undefined ? undefined : speeds.get(id));
  const model = hex(turn.model_sha256);
  const manifest = status.value?.model.manifest[0];
  const name = manifest && hex(manifest.sha256) === model ? manifest.name : null;
  return (
    <Drawer title="How this answer was made" onClose={props.onClose}>
      <Rounds rounds={rounds} total={total} />
      <dl class="facts">
        <dt>Tokens written</dt>
        <dd>{count(tokens)}</dd>
        <dt>Tokens read</dt>
        <dd>
          {count(Math.max(0, read))}
          {turn.cached_tokens > 0 && <small>{count(turn.cached_tokens)} more were in the cache</small>}
        </dd>
        <dt>Rounds</dt>
        <dd>{count(total)}</dd>
        <dt>Instructions</dt>
        <dd>
          {large(instructions)}
          {prompt !== undefined && drawn !== undefined && (
            <small>
              reading {large(prompt)}, writing {large(drawn)}
            </small>
          )}
        </dd>
        {drawn !== undefined && tokens > 0 && (
          <>
            <dt>Instructions a token</dt>
            <dd>{large(drawn / BigInt(tokens))}</dd>
          </>
        )}
        <dt>Cycles</dt>
        <dd>
          about {large(instructions + BigInt(total) * CYCLES_PER_MESSAGE)}
          <small>on a subnet of 13 nodes</small>
        </dd>
        <dt>Speed</dt>
        <dd>{speed ? `${speed.toFixed(1)} tokens a second` : 'not measured here'}</dd>
        <dt>Ended because</dt>
        <dd>{finish(turn)}</dd>
        <dt>Seed</dt>
        <dd class="with-copy">
          <code>{String(turn.seed)}</code>
          <CopyButton label="Copy the seed" text={() => String(turn.seed)} />
        </dd>
        <dt>Model</dt>
        <dd>
          {name ?? 'no longer there'}
          {name && manifest && <small>{bytes(manifest.size)}</small>}
        </dd>
        <dt>SHA-256 of the model</dt>
        <dd class="with-copy">
          <code class="hash">{model}</code>
          <CopyButton label="Copy the hash" text={() => model} />
        </dd>
      </dl>
      <p class="hint">
        The same model, conversation, settings and seed give the same tokens, bit for bit: anybody can
        compute this answer again and compare.
      </p>
    </Drawer>
  );
}
