//! Model files that were made to do harm: every one must be refused with a typed error, after little
//! work. Each is a small good model with one thing wrong.

use crate::raw_gguf::{Entry, Raw, array, text, texts};
use anyhow::Result;

const U32: u32 = 4;
const F32: u32 = 6;
const STRING: u32 = 8;
const ARRAY: u32 = 9;
const U64: u32 = 10;

/// A crafted file.
pub struct Crafted {
    /// What is wrong with the file.
    pub name: &'static str,
    /// The file.
    pub bytes: Vec<u8>,
    /// What the error says.
    pub says: &'static str,
}

/// Words that one slot of the tokenizer's table is the first choice of: their hash has the same
/// lowest bits. (The table's hash is public: anybody can find such words.)
fn colliding(count: usize) -> Vec<String> {
    // Of words of twelve bytes the hash mixes the first four, the last four and those between. Its
    // inner state after the first two steps decides nothing about the third: whatever `h` is, there
    // is a middle for which the sum is what one likes.
    let mix = |h: u32, v: u32| (h.rotate_left(5) ^ v).wrapping_mul(0x9e37_79b1);
    let odd: u32 = 0x9e37_79b1;
    // The inverse of the multiplier modulo 2^32, by Newton's iteration.
    let mut inverse = odd;
    for _ in 0..5 {
        inverse = inverse.wrapping_mul(2u32.wrapping_sub(odd.wrapping_mul(inverse)));
    }
    let ascii = |v: u32| v.to_le_bytes().iter().all(|b| (0x21..0x7f).contains(b));
    let wanted = 0x1234_5678u32;
    let mut words = Vec::with_capacity(count);
    'search: for a in 0u32.. {
        let four = |n: u32| -> [u8; 4] {
            let digit = |i: u32| 0x21 + ((n / 93u32.pow(i)) % 93) as u8;
            [digit(0), digit(1), digit(2), digit(3)]
        };
        let first = four(a);
        for b in 0..4_000u32 {
            let last = four(b.wrapping_mul(7_919));
            let h = mix(mix(12, u32::from_le_bytes(first)), u32::from_le_bytes(last));
            let middle = wanted.wrapping_mul(inverse) ^ h.rotate_left(5);
            if ascii(middle) {
                let bytes = [first, middle.to_le_bytes(), last].concat();
                words.push(String::from_utf8_lossy(&bytes).into_owned());
                if words.len() == count {
                    break 'search;
                }
            }
        }
    }
    words
}

/// Crafted files of every kind.
///
/// # Errors
/// When the good model cannot be made.
pub fn corpus() -> Result<Vec<Crafted>> {
    let good = Raw::parse(&crate::tiny_model::smallest().bytes()?)?;
    let mut all = Vec::new();
    let mut bytes = |name, says, bytes| all.push(Crafted { name, bytes, says });
    bytes("empty", "end", Vec::new());
    bytes(
        "another magic number",
        "magic",
        b"GGML0123456789abcdef".to_vec(),
    );
    bytes("nothing but a magic number", "end", b"GGUF".to_vec());
    let file = good.bytes();
    bytes("half a file", "end", file[..file.len() / 2].to_vec());
    bytes("half a header", "end", file[..3_000].to_vec());
    let mut big_endian = file.clone();
    big_endian[4..8].reverse();
    bytes("big-endian", "version", big_endian);

    let mut with = |name, says, change: &dyn Fn(&mut Raw)| {
        let mut raw = good.clone();
        change(&mut raw);
        let bytes = raw.bytes();
        all.push(Crafted { name, bytes, says });
    };
    let number = |n: u32| n.to_le_bytes().to_vec();
    let float = |n: f32| n.to_le_bytes().to_vec();

    // Counts and lengths.
    with("2^64 - 1 tensors", "tensors", &|r| {
        r.counts = Some((u64::MAX, 3))
    });
    with("2^64 - 1 entries", "entries", &|r| {
        r.counts = Some((3, u64::MAX))
    });
    with("65,536 tensors, but few there", "", &|r| {
        r.counts = Some((65_536, r.metadata.len() as u64))
    });
    with("an entry too many", "", &|r| {
        r.counts = Some((r.tensors.len() as u64, r.metadata.len() as u64 + 1));
    });
    with("a text of 2^64 - 1 bytes", "bytes", &|r| {
        r.set("general.name", STRING, u64::MAX.to_le_bytes().to_vec())
    });
    with("a text of 2^63 bytes", "bytes", &|r| {
        r.set("general.name", STRING, (1u64 << 63).to_le_bytes().to_vec())
    });
    with("a text to the end of the file", "", &|r| {
        r.set("general.name", STRING, (1u64 << 16).to_le_bytes().to_vec())
    });
    with("a thousand million words", "end", &|r| {
        r.set(
            "tokenizer.ggml.tokens",
            ARRAY,
            array(STRING, 1_000_000_000, &text(b"a").repeat(100)),
        );
    });
    with("2^64 - 1 words", "end", &|r| {
        r.set("tokenizer.ggml.tokens", ARRAY, array(STRING, u64::MAX, &[]))
    });
    with("2^62 numbers of four bytes", "end", &|r| {
        r.set("some.numbers", ARRAY, array(U32, 1 << 62, &[]))
    });
    with("2^61 numbers of eight bytes", "end", &|r| {
        r.set("some.numbers", ARRAY, array(U64, (1 << 61) + 1, &[]))
    });
    with("a word of nearly 2^64 bytes", "end", &|r| {
        let elements = [text(b"a"), (u64::MAX - 20).to_le_bytes().to_vec()].concat();
        r.set("tokenizer.ggml.tokens", ARRAY, array(STRING, 2, &elements));
    });
    with("words that go round the address space", "end", &|r| {
        let elements = (u64::MAX - 7).to_le_bytes().repeat(64);
        r.set("tokenizer.ggml.tokens", ARRAY, array(STRING, 64, &elements));
    });
    with("arrays within arrays", "nested", &|r| {
        let mut value = array(U32, 0, &[]);
        for _ in 0..10_000 {
            value = array(ARRAY, 1, &value);
            if value.len() > 60_000 {
                break;
            }
        }
        r.set("deep", ARRAY, value);
    });
    with("a thousand million empty arrays", "", &|r| {
        r.set(
            "wide",
            ARRAY,
            array(ARRAY, 1_000_000_000, &array(U32, 0, &[]).repeat(2_000)),
        );
    });
    with("an unknown type", "type", &|r| {
        r.set("strange", 13, vec![0; 64])
    });
    with("an array of an unknown type", "type", &|r| {
        r.set("strange", ARRAY, array(99, 4, &[0; 64]))
    });
    with("a key twice", "twice", &|r| {
        r.metadata.push(r.metadata[0].clone())
    });
    with("a key that is not UTF-8", "UTF-8", &|r| {
        let (key, kind, value) = (vec![0xff, 0xfe], U32, vec![0; 4]);
        r.metadata.push(Entry { key, kind, value });
    });
    with("an architecture that is not UTF-8", "UTF-8", &|r| {
        r.set("general.architecture", STRING, text(&[0xc3, 0x28]))
    });
    with("a tensor's name that is not UTF-8", "UTF-8", &|r| {
        r.tensors[0].name = vec![0x80]
    });
    with("alignment 0", "alignment", &|r| {
        r.set("general.alignment", U32, number(0))
    });
    with("alignment 12", "alignment", &|r| {
        r.set("general.alignment", U32, number(12))
    });
    with("alignment 2^31", "alignment", &|r| {
        r.set("general.alignment", U32, number(1 << 31))
    });
    with("an alignment that is a text", "alignment", &|r| {
        r.set("general.alignment", STRING, text(b"32"))
    });

    // Tensors.
    with("a tensor twice", "twice", &|r| {
        let again = r.tensors[0].clone();
        r.tensors.push(again);
    });
    with("tensors over one another", "overlap", &|r| {
        let at = r.tensor("token_embd.weight").offset;
        r.tensor("output.weight").offset = at;
    });
    with("a tensor after the end", "end", &|r| {
        r.tensor("output.weight").offset = 1 << 40
    });
    with("a tensor at nearly 2^64", "", &|r| {
        r.tensor("output.weight").offset = u64::MAX - 31
    });
    with("a tensor that is not aligned", "aligned", &|r| {
        r.tensor("output.weight").offset += 1
    });
    with("no dimensions", "dimensions", &|r| {
        r.tensor("output.weight").dims.clear()
    });
    with("a thousand dimensions", "dimensions", &|r| {
        r.tensor("output.weight").dims = vec![1; 1_000]
    });
    with("a dimension of zero", "zero", &|r| {
        r.tensor("output.weight").dims[1] = 0
    });
    with("no columns", "zero", &|r| {
        r.tensor("output.weight").dims[0] = 0
    });
    with("dimensions whose product is 2^64", "large", &|r| {
        r.tensor("output.weight").dims = vec![32, 1 << 32, 1 << 32, 1 << 32];
    });
    with("2^63 columns", "", &|r| {
        r.tensor("output.weight").dims = vec![1 << 63, 1]
    });
    with("a tensor type of the future", "type", &|r| {
        r.tensor("output.weight").kind = 9_999
    });
    with("a broken block", "blocks", &|r| {
        r.tensor("output.weight").dims = vec![33, 283]
    });
    with("a tensor missing", "missing", &|r| {
        r.tensors.retain(|t| t.name != b"blk.0.ffn_down.weight")
    });
    with("an embedding of other width", "rows", &|r| {
        r.tensor("token_embd.weight").dims = vec![64, 141]
    });
    with("a transposed tensor", "", &|r| {
        r.tensor("blk.0.attn_k.weight").dims.reverse()
    });

    // Weights.
    let not_finite = "finite";
    with("a scale that is NaN", not_finite, &|r| {
        r.data_of("blk.0.ffn_up.weight")[..2].copy_from_slice(&[0x00, 0x7e])
    });
    with("a scale that is infinite", not_finite, &|r| {
        r.data_of("token_embd.weight")[..2].copy_from_slice(&[0x00, 0x7c])
    });
    with("a norm that is NaN", not_finite, &|r| {
        r.data_of("output_norm.weight")[..4].copy_from_slice(&f32::NAN.to_le_bytes())
    });
    with("a norm that is infinite", not_finite, &|r| {
        r.data_of("blk.0.attn_norm.weight")[..4].copy_from_slice(&f32::NEG_INFINITY.to_le_bytes());
    });

    // Configuration.
    with("no architecture", "architecture", &|r| {
        r.remove("general.architecture")
    });
    with("an unknown architecture", "mamba", &|r| {
        r.set("general.architecture", STRING, text(b"mamba"))
    });
    with("an architecture that is a number", "architecture", &|r| {
        r.set("general.architecture", U32, number(1))
    });
    let sizes: [(&str, &str, u32); 16] = [
        ("a thousand million layers", "block_count", 1_000_000_000),
        ("no layers", "block_count", 0),
        ("more layers than there are", "block_count", 2),
        ("no heads", "attention.head_count", 0),
        ("2^32 - 1 heads", "attention.head_count", u32::MAX),
        (
            "heads that the KV heads do not divide",
            "attention.head_count",
            3,
        ),
        ("no KV heads", "attention.head_count_kv", 0),
        ("more KV heads than heads", "attention.head_count_kv", 3),
        ("heads of 17", "attention.key_length", 17),
        ("heads of 2^32 - 1", "attention.key_length", u32::MAX),
        ("values of another width", "attention.value_length", 32),
        (
            "an odd number of rotated dimensions",
            "rope.dimension_count",
            7,
        ),
        ("no context", "context_length", 0),
        ("a context of 2^32 - 1", "context_length", u32::MAX),
        ("width 0", "embedding_length", 0),
        (
            "a feed-forward width of 2^32 - 1",
            "feed_forward_length",
            u32::MAX,
        ),
    ];
    for (name, key, value) in sizes {
        with(name, "", &|r| {
            r.set(&format!("llama.{key}"), U32, number(value))
        });
    }
    with("a cache of gigabytes", "cache", &|r| {
        let sizes = [
            ("block_count", 512),
            ("attention.head_count", 1_024),
            ("attention.head_count_kv", 1_024),
        ];
        for (key, value) in sizes {
            r.set(&format!("llama.{key}"), U32, number(value));
        }
    });
    with("a width that is a text", "embedding_length", &|r| {
        r.set("llama.embedding_length", STRING, text(b"32"))
    });
    with("a width that is an array", "embedding_length", &|r| {
        r.set("llama.embedding_length", ARRAY, array(U32, 1, &number(32)))
    });
    let floats: [(&str, &str, f32); 6] = [
        (
            "an epsilon of NaN",
            "attention.layer_norm_rms_epsilon",
            f32::NAN,
        ),
        (
            "a negative epsilon",
            "attention.layer_norm_rms_epsilon",
            -1.0,
        ),
        ("a base of zero", "rope.freq_base", 0.0),
        ("an infinite base", "rope.freq_base", f32::INFINITY),
        ("a scaling factor of NaN", "rope.scaling.factor", f32::NAN),
        ("a negative scaling factor", "rope.scale_linear", -2.0),
    ];
    for (name, key, value) in floats {
        with(name, "", &|r| {
            r.set(&format!("llama.{key}"), F32, float(value))
        });
    }
    with("an unknown scaling", "scaling", &|r| {
        r.set("llama.rope.scaling.type", STRING, text(b"warp"))
    });
    with("experts", "expert", &|r| {
        r.set("llama.expert_count", U32, number(8))
    });

    // Tokenizer.
    let tokens = "tokenizer.ggml.tokens";
    with("no words", "tokens", &|r| r.remove(tokens));
    with("words that are numbers", "tokens", &|r| {
        r.set(tokens, ARRAY, array(U32, 283, &[0; 4 * 283]))
    });
    with("fewer words than rows", "tokens", &|r| {
        r.set(tokens, ARRAY, texts(&["a"; 282]))
    });
    with("a word too long", "bytes", &|r| {
        let mut words = vec![b"a".to_vec(); 283];
        words[7] = vec![b'x'; 60_000];
        r.set(tokens, ARRAY, texts(&words));
    });
    with("all words the same", "merges", &|r| {
        r.set(tokens, ARRAY, texts(&["same"; 283]))
    });
    with("types for other words", "types", &|r| {
        r.set("tokenizer.ggml.token_type", ARRAY, array(5, 3, &[0; 12]))
    });
    with("types that are texts", "token_type", &|r| {
        r.set("tokenizer.ggml.token_type", STRING, text(b"1"))
    });
    with("no tokenizer", "tokenizer.ggml.model", &|r| {
        r.remove("tokenizer.ggml.model")
    });
    with("an unknown tokenizer", "bert", &|r| {
        r.set("tokenizer.ggml.model", STRING, text(b"bert"))
    });
    with("an unknown pre-tokenizer", "tokenizer.ggml.pre", &|r| {
        r.set("tokenizer.ggml.pre", STRING, text(b"../../etc/passwd"))
    });
    let merges = "tokenizer.ggml.merges";
    with("no merges", "merges", &|r| r.remove(merges));
    with("merges of unknown words", "merges", &|r| {
        r.set(merges, ARRAY, texts(&["no such"]))
    });
    with("a merge of one word", "merges", &|r| {
        r.set(merges, ARRAY, texts(&["t"]))
    });
    with("a merge of nothing", "merges", &|r| {
        r.set(merges, ARRAY, texts(&[" "]))
    });
    with("a merge that is not UTF-8", "merges", &|r| {
        r.set(merges, ARRAY, texts(&[[0xff, b' ', 0xfe]]))
    });
    with("merges that are numbers", "merges", &|r| {
        r.set(merges, ARRAY, array(U32, 4, &[0; 16]))
    });
    with("too few scores", "scores", &|r| {
        r.set("tokenizer.ggml.model", STRING, text(b"llama"));
        r.set("tokenizer.ggml.scores", ARRAY, array(F32, 1, &[0; 4]));
    });

    // Templates.
    let template = "tokenizer.chat_template";
    with("a template that is not one", "chat_template", &|r| {
        r.set(template, STRING, text(b"{% for x in %}"))
    });
    with("a template without an end", "chat_template", &|r| {
        r.set(template, STRING, text(b"{% if true %}"))
    });
    with("a template of half a megabyte", "chat_template", &|r| {
        r.set(template, STRING, text("{{ 1 }}".repeat(80_000).as_bytes()))
    });
    with("a template of parentheses", "chat_template", &|r| {
        r.set(
            template,
            STRING,
            text(format!("{{{{ {}1{} }}}}", "(".repeat(50_000), ")".repeat(50_000)).as_bytes()),
        );
    });
    with("a template of conditions", "chat_template", &|r| {
        r.set(
            template,
            STRING,
            text("{% if true %}".repeat(10_000).as_bytes()),
        )
    });
    with("a template of negations", "chat_template", &|r| {
        r.set(
            template,
            STRING,
            text(format!("{{{{ {}true }}}}", "not ".repeat(50_000)).as_bytes()),
        );
    });
    with("a template of alternatives", "chat_template", &|r| {
        r.set(
            template,
            STRING,
            text(format!("{{% if 1 %}}{}{{% endif %}}", "{% elif 1 %}".repeat(10_000)).as_bytes()),
        );
    });
    with("a template of sums", "chat_template", &|r| {
        r.set(
            template,
            STRING,
            text(format!("{{{{ 1{} }}}}", "+1".repeat(50_000)).as_bytes()),
        )
    });
    with("a template that includes itself", "chat_template", &|r| {
        r.set(template, STRING, text(b"{% include 'chat' %}"))
    });
    with("a template that extends itself", "chat_template", &|r| {
        r.set(template, STRING, text(b"{% extends 'chat' %}"))
    });

    // Words of one hash: a vocabulary large enough for it to hurt.
    let mut raw = good.clone();
    let words = colliding(20_000);
    let rows = words.len() as u64;
    raw.set(tokens, ARRAY, texts(&words));
    raw.remove("tokenizer.ggml.token_type");
    raw.set(merges, ARRAY, texts::<&str>(&[]));
    raw.tensors.retain(|t| t.name != b"output.weight");
    let end = raw.data.len().next_multiple_of(32);
    raw.data.resize(end + rows as usize * 34, 0);
    let embedding = raw.tensor("token_embd.weight");
    (embedding.dims, embedding.offset) = (vec![32, rows], end as u64);
    let (name, bytes, says) = ("words of one hash", raw.bytes(), "hash");
    all.push(Crafted { name, bytes, says });

    Ok(all)
}

/// Models that are well formed, but whose chat template does harm when it runs: the refusal comes
/// with the first chat.
///
/// # Errors
/// When the good model cannot be made.
pub fn templates() -> Result<Vec<Crafted>> {
    let good = Raw::parse(&crate::tiny_model::smallest().bytes()?)?;
    let loops = "{% for a in range(100000) %}{% for b in range(100000) %}{{ a * b }}{% endfor %}{% endfor %}";
    let double = "{% set ns = namespace(x='aaaaaaaaaaaaaaaa') %}{% for i in range(64) %}{% set ns.x = ns.x OP %}{% endfor %}{{ ns.x }}";
    let long = "{% set ns = namespace(x='abcdefgh') %}{% for i in range(16) %}{% set ns.x = ns.x ~ ns.x %}{% endfor %}";
    let list: [(&'static str, String); 21] = [
        ("runs for ever", loops.into()),
        ("doubles a text with ~", double.replace("OP", "~ ns.x")),
        ("doubles a text with +", double.replace("OP", "+ ns.x")),
        ("doubles a text with *", double.replace("OP", "* 2")),
        ("doubles a text with replace", double.replace("OP", "| replace('a', 'aa')")),
        ("doubles a text with the method", double.replace("OP", ".replace('a', 'aa')")),
        ("doubles a text with join", double.replace("OP", "| join('aaaaaa')")),
        ("doubles quotation marks", double.replace("OP", "| tojson")),
        ("doubles a list", double.replace("'aaaaaaaaaaaaaaaa'", "[1, 2]").replace("OP", "+ ns.x")),
        ("nests a list", double.replace("'aaaaaaaaaaaaaaaa'", "[1]").replace("OP", "and [ns.x, ns.x]")),
        ("nests a list for ever", "{% set ns = namespace(x=[1]) %}{% for i in range(100000) %}{% set ns.x = [ns.x] %}{% endfor %}".into()),
        ("nests namespaces for ever", "{% set ns = namespace(x=1) %}{% for i in range(100000) %}{% set ns.x = namespace(y=ns.x) %}{% endfor %}".into()),
        ("chains namespaces", "{% set ns = namespace(x=1) %}{% for i in range(100000) %}{% set m = namespace(y=1) %}{% set m.y = ns.x %}{% set ns.x = m %}{% endfor %}".into()),
        ("indents far", "{{ 'a\nb' | indent(1000000000) }}".into()),
        ("repeats a text", "{{ 'abc' * 1000000000 }}".into()),
        ("calls itself", "{% macro f(x) %}{{ f(x) }}{{ f(x) }}{% endmacro %}{{ f(1) }}".into()),
        ("captures without end", format!("{long}{{% set y %}}{{% for i in range(100000) %}}{{{{ ns.x }}}}{{% endfor %}}{{% endset %}}{{{{ y }}}}")),
        ("searches a long text for ever", format!("{long}{{% for i in range(100000) %}}{{{{ 'x' in ns.x }}}}{{% endfor %}}")),
        ("compares long texts for ever", format!("{long}{{% set z = ns.x ~ '' %}}{{% for i in range(100000) %}}{{{{ z == ns.x }}}}{{% endfor %}}")),
        ("slices a long text for ever", format!("{long}{{% for i in range(100000) %}}{{{{ ns.x[3:4] }}}}{{% endfor %}}")),
        ("writes long text for ever", format!("{{% for i in range(100000) %}}{}{{% endfor %}}", "long ".repeat(10_000))),
    ];
    Ok(list
        .into_iter()
        .map(|(name, template)| {
            let mut raw = good.clone();
            raw.set("tokenizer.chat_template", STRING, text(template.as_bytes()));
            let (bytes, says) = (raw.bytes(), "");
            Crafted { name, bytes, says }
        })
        .collect())
}
