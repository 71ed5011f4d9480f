//! How byte-level BPE cuts a text into pieces before it merges: the pre-tokenizers that
//! `tokenizer.ggml.pre` names. One row a name; the patterns are those of llama.cpp
//! (`src/llama-vocab.cpp`, `llm_tokenizer_bpe`), written for this regex engine.
//!
//! Several patterns apply one after the other, each to the pieces that the one before it left.
//! Only the patterns of the file's own pre-tokenizer are compiled: compiling costs instructions
//! after every upgrade of the canister.

use crate::{Error, unsupported};
use tokenizers::pattern::Pattern;
use tokenizers::pre_tokenizers::byte_level::ByteLevel;
use tokenizers::pre_tokenizers::digits::Digits;
use tokenizers::pre_tokenizers::split::{Split, SplitPattern};
use tokenizers::{Offsets, PreTokenizedString, PreTokenizer, SplitDelimiterBehavior};

/// One step of cutting.
#[derive(Clone, Copy)]
enum Step {
    /// Every match of this pattern becomes a piece, and so does the text between matches.
    Pattern(&'static str),
    /// Every digit is a piece: `\p{N}`.
    Digits,
    /// GPT-2's pattern, which the tokenizers crate compiles once.
    Gpt2,
    /// Runs of digits become groups of three, counted from the end: `(?=(\d{3})+(?!\d))`, which
    /// as a regular expression takes time quadratic in the length of the run.
    Thousands,
}
use Step::{Digits as DIGITS, Gpt2 as GPT2, Thousands as THOUSANDS};

const GPT2_PATTERN: &str =
    r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+";
const LLAMA3: &[Step] = &[Step::Pattern(
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+",
)];
const QWEN2: &[Step] = &[Step::Pattern(
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+",
)];
const QWEN35: &[Step] = &[Step::Pattern(
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?[\p{L}\p{M}]+|\p{N}| ?[^\s\p{L}\p{M}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+",
)];
const SEED_CODER: &[Step] = &[Step::Pattern(
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}\r\n]+|\s*[\r\n]+|\s+(?!\S)|\s+",
)];
const BAILING: &[Step] = &[Step::Pattern(
    r"'(?i:[sdmt]|ll|ve|re)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]|\s+(?!\S)|\s+",
)];
/// llama.cpp knows no classes of upper and lower case; it takes the capitals A to Z for the first
/// and the letters a to z for the second, and every other letter for both.
const TEKKEN: &[Step] = &[Step::Pattern(
    r"[^\r\n\p{L}\p{N}]?[\p{L}&&[^a-z]]*[\p{L}&&[^A-Z]]+|[^\r\n\p{L}\p{N}]?[\p{L}&&[^a-z]]+[\p{L}&&[^A-Z]]*|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+",
)];
const GPT4O: &[Step] = &[Step::Pattern(
    r"[^\r\n\p{L}\p{N}]?[\p{L}&&[^a-z]]*[\p{L}&&[^A-Z]]+(?i:'s|'t|'re|'ve|'m|'ll|'d)?|[^\r\n\p{L}\p{N}]?[\p{L}&&[^a-z]]+[\p{L}&&[^A-Z]]*(?i:'s|'t|'re|'ve|'m|'ll|'d)?|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+",
)];
const DEEPSEEK_LLM: &[Step] = &[
    Step::Pattern(r"[\r\n]"),
    Step::Pattern(
        r"\s?[A-Za-zµÀ-ÖØ-öø-ƺƼ-ƿǄ-ʓʕ-ʯͰ-ͳͶͷͻ-ͽͿΆΈ-ΊΌΎ-ΡΣ-ϵϷ-ҁҊ-ԯԱ-ՖႠ-ჅᎠ-Ᏽᏸ-ᏽᲐ-ᲺᲽ-Ჿᴀ-ᴫᵫ-ᵷᵹ-ᶚḀ-\x{1F15}\x{1F18}-\x{1F1D}\x{1F20}-\x{1F45}\x{1F48}-\x{1F4D}\x{1F50}-\x{1F57}\x{1F59}\x{1F5B}\x{1F5D}\x{1F5F}-\x{1F7D}\x{1F80}-\x{1FB4}\x{1FB6}-\x{1FBC}\x{1FBE}\x{1FC2}-\x{1FC4}\x{1FC6}-\x{1FCC}\x{1FD0}-\x{1FD3}\x{1FD6}-\x{1FDB}\x{1FE0}-\x{1FEC}\x{1FF2}-\x{1FF4}\x{1FF6}-\x{1FFC}\x{2102}\x{2107}\x{210A}-\x{2113}\x{2115}\x{2119}-\x{211D}\x{2124}\x{2126}\x{2128}\x{212A}-\x{212D}\x{212F}-\x{2134}\x{2139}\x{213C}-\x{213F}\x{2145}-\x{2149}\x{214E}\x{2183}\x{2184}Ⰰ-ⱻⱾ-ⳤⳫ-ⳮⳲⳳꙀ-ꙭꚀ-ꚛꜢ-ꝯꝱ-ꞇꞋ-ꞎꭰ-ꮿﬀ-ﬆﬓ-ﬗＡ-Ｚａ-ｚ𐐀-𐑏𐒰-𐓓𐓘-𐓻𐲀-𐲲𐳀-𐳲𑢠-𑣟𞤀-𞥃]+",
    ),
    Step::Pattern(r"\s?[!-/:-~！-／：-～‘-‟　-。]+"),
    Step::Pattern(r"\s+$"),
    Step::Pattern(r"[一-龥ࠀ-一가-퟿]+"),
    Step::Pattern(r"\p{N}+"),
];
const DEEPSEEK_CODER: &[Step] = &[
    Step::Pattern(r"[\r\n]"),
    Step::Pattern(r"\s?\p{L}+"),
    Step::Pattern(r"\s?\p{P}+"),
    Step::Pattern(r"[一-龥ࠀ-一가-퟿]+"),
    Step::Digits,
];
const DEEPSEEK3: &[Step] = &[
    Step::Pattern(r"\p{N}{1,3}"),
    Step::Pattern(r"[一-龥぀-ゟ゠-ヿ]+"),
    Step::Pattern(
        r##"[!"#$%&'()*+,\-./:;<=>?@\[\\\]^_`{|}~][A-Za-z]+|[^\r\n\p{L}\p{P}\p{S}]?[\p{L}\p{M}]+| ?[\p{P}\p{S}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"##,
    ),
];
const FALCON: &[Step] = &[
    Step::Pattern(r"[\p{P}\$\+<=>\^~\|`]+"),
    Step::Gpt2,
    Step::Pattern(r"[0-9][0-9][0-9]"),
];
const DIGITS_GPT2: &[Step] = &[DIGITS, GPT2];
const BLOOM: &[Step] = &[Step::Pattern(r" ?[^(\s|.,!?…。，、।۔،)]+")];
const VIKING: &[Step] = &[Step::Pattern(r" ?[^(\s|.,!?…。，、।۔،)]+"), Step::Digits];
/// As the published tokenizer has it: letters other than Chinese ones, which are a piece each run.
const KIMI_K2: &[Step] = &[Step::Pattern(
    r"\p{Han}+|[^\r\n\p{L}\p{N}]?[[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]&&[^\p{Han}]]*[[\p{Ll}\p{Lm}\p{Lo}\p{M}]&&[^\p{Han}]]+(?i:'s|'t|'re|'ve|'m|'ll|'d)?|[^\r\n\p{L}\p{N}]?[[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]&&[^\p{Han}]]+[[\p{Ll}\p{Lm}\p{Lo}\p{M}]&&[^\p{Han}]]*(?i:'s|'t|'re|'ve|'m|'ll|'d)?|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+",
)];
const EXAONE_MOE: &[Step] = &[Step::Pattern(
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?(?:\p{L}\p{M}*(?: \p{L}\p{M}*)*)+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n/]?|\s*[\r\n]|\s+(?!\S)|\s+",
)];
const CHAMELEON: &[Step] = &[
    Step::Pattern(r"<sentinel:[0-9]+>"),
    Step::Pattern(r"(IMGIMG)((A|B|C|D|E|F|G|H|I){1,4})Z"),
    Step::Pattern(r"([\t\n]|    |  )"),
    Step::Digits,
    Step::Pattern(r"[\p{P}!-/:-@\[-`{-~]"),
    Step::Gpt2,
];
const SUPERBPE: &[Step] = &[Step::Pattern(r"\p{N}+"), THOUSANDS];
const DEFAULT: &[Step] = &[
    Step::Pattern(r"[\p{P}\$\+<=>\^~\|]+"),
    Step::Gpt2,
    Step::Pattern(r"\p{N}+"),
    Step::Pattern(r"[0-9][0-9][0-9]"),
];

/// A row of [`TABLE`].
struct Row {
    name: &'static str,
    steps: &'static [Step],
    /// A piece that is a word is that word, whatever the merges say (`ignore_merges`).
    whole_words: bool,
    /// A text begins with BOS unless the file says otherwise.
    add_bos: bool,
    /// The published tokenizer composes text (Unicode's NFC) before it is cut.
    composed: bool,
}

const fn row(name: &'static str, steps: &'static [Step]) -> Row {
    Row {
        name,
        steps,
        whole_words: false,
        add_bos: false,
        composed: false,
    }
}

/// A row of Llama 3's kind.
const fn whole(name: &'static str, steps: &'static [Step]) -> Row {
    Row {
        whole_words: true,
        add_bos: true,
        ..row(name, steps)
    }
}

/// The names that are read, with what llama.cpp takes each for.
const TABLE: &[Row] = &[
    row("default", DEFAULT),
    whole("llama3", LLAMA3),
    whole("llama-v3", LLAMA3),
    whole("llama-bpe", LLAMA3),
    whole("falcon3", LLAMA3),
    whole("falcon-h1", LLAMA3),
    whole("pixtral", LLAMA3),
    whole("midm-2.0", LLAMA3),
    whole("lfm2", LLAMA3),
    row("dbrx", LLAMA3),
    row("smaug-bpe", LLAMA3),
    Row {
        add_bos: false,
        ..whole("glm4", LLAMA3)
    },
    Row {
        add_bos: false,
        ..whole("chatglm-bpe", LLAMA3)
    },
    Row {
        composed: true,
        ..row("qwen2", QWEN2)
    },
    row("deepseek-r1-qwen", QWEN2),
    row("kormo", QWEN2),
    row("megrez", QWEN2),
    row("stablelm2", QWEN2),
    row("hunyuan", QWEN2),
    row("solar-open", QWEN2),
    row("grok-2", QWEN2),
    row("qwen35", QWEN35),
    row("seed-coder", SEED_CODER),
    row("bailingmoe", BAILING),
    row("bailingmoe2", BAILING),
    row("llada-moe", BAILING),
    whole("tekken", TEKKEN),
    row("gpt-4o", GPT4O),
    row("llama4", GPT4O),
    row("kanana2", GPT4O),
    row("minimax-m2", GPT4O),
    row("deepseek-llm", DEEPSEEK_LLM),
    row("deepseek-coder", DEEPSEEK_CODER),
    row("deepseek-v3", DEEPSEEK3),
    row("hunyuan-dense", DEEPSEEK3),
    row("joyai-llm", DEEPSEEK3),
    row("falcon", FALCON),
    row("gpt-2", &[GPT2]),
    row("phi-2", &[GPT2]),
    row("mpt", &[GPT2]),
    row("olmo", &[GPT2]),
    row("jais", &[GPT2]),
    row("trillion", &[GPT2]),
    row("granite-docling", &[GPT2]),
    row("exaone4", &[GPT2]),
    row("gigachat", &[GPT2]),
    row("a.x-4.0", &[GPT2]),
    row("mellum", &[GPT2]),
    row("modern-bert", &[GPT2]),
    row("starcoder", DIGITS_GPT2),
    row("refact", DIGITS_GPT2),
    row("command-r", DIGITS_GPT2),
    row("smollm", DIGITS_GPT2),
    row("codeshell", DIGITS_GPT2),
    row("exaone", DIGITS_GPT2),
    row("minerva-7b", DIGITS_GPT2),
    row("mellum2", DIGITS_GPT2),
    row("exaone-moe", EXAONE_MOE),
    row("bloom", BLOOM),
    row("poro-chat", BLOOM),
    row("gpt3-finnish", BLOOM),
    row("viking", VIKING),
    row("superbpe", SUPERBPE),
    row("kimi-k2", KIMI_K2),
    Row {
        add_bos: true,
        ..row("chameleon", CHAMELEON)
    },
];

/// A step that is ready to run.
enum Ready {
    Split(Box<Split>),
    Digits(Digits),
    Gpt2(ByteLevel),
    Thousands,
}

/// The pre-tokenizer of a file.
pub(super) struct PreTokenizerSteps {
    steps: Vec<Ready>,
    /// Writes each byte as the character that stands for it.
    bytes: ByteLevel,
    /// A piece that is a word is that word, whatever the merges say.
    pub(super) whole_words: bool,
    /// A text begins with BOS unless the file says otherwise.
    pub(super) add_bos: bool,
    /// Text is composed (Unicode's NFC) before it is cut up.
    pub(super) composed: bool,
}

impl PreTokenizerSteps {
    /// Compiles the pre-tokenizer that llama.cpp knows by this name.
    ///
    /// # Errors
    /// A name that is not in the table.
    pub(super) fn new(name: &str) -> Result<Self, Error> {
        let row = TABLE
            .iter()
            .find(|row| row.name == name)
            .ok_or_else(|| unsupported(format!("tokenizer.ggml.pre {name}")))?;
        let split = |pattern: &str| {
            let pattern = SplitPattern::Regex(pattern.into());
            let split = Split::new(pattern, SplitDelimiterBehavior::Isolated, false)
                .map_err(|e| unsupported(format!("tokenizer.ggml.pre {name}: {e}")))?;
            Ok(Ready::Split(Box::new(split)))
        };
        let last = row.steps.len() - 1;
        let ready = |(i, step): (usize, &Step)| match step {
            Step::Pattern(pattern) => split(pattern),
            Step::Digits => Ok(Ready::Digits(Digits::new(true))),
            Step::Gpt2 if i == last => Ok(Ready::Gpt2(ByteLevel::new(false, false, true))),
            Step::Gpt2 => split(GPT2_PATTERN),
            Step::Thousands => Ok(Ready::Thousands),
        };
        let steps = row.steps.iter().enumerate().map(ready);
        Ok(Self {
            steps: steps.collect::<Result<_, Error>>()?,
            bytes: ByteLevel::new(false, false, false),
            whole_words: row.whole_words,
            add_bos: row.add_bos,
            composed: row.composed,
        })
    }

    /// Cuts a text into pieces, written in characters that stand for bytes.
    pub(super) fn cut(&self, pieces: &mut PreTokenizedString) -> tokenizers::Result<()> {
        let mut encoded = false;
        for step in &self.steps {
            match step {
                Ready::Split(split) => split.pre_tokenize(pieces)?,
                Ready::Digits(digits) => digits.pre_tokenize(pieces)?,
                // The last step: it writes the bytes, too.
                Ready::Gpt2(gpt2) => {
                    gpt2.pre_tokenize(pieces)?;
                    encoded = true;
                }
                Ready::Thousands => pieces.split(|_, piece| {
                    piece.split(ThousandsPattern, SplitDelimiterBehavior::Isolated)
                })?,
            }
        }
        if !encoded {
            self.bytes.pre_tokenize(pieces)?;
        }
        Ok(())
    }
}

/// Digits in groups of three, counted from the end of each run.
struct ThousandsPattern;

impl Pattern for ThousandsPattern {
    fn find_matches(&self, inside: &str) -> tokenizers::Result<Vec<(Offsets, bool)>> {
        // Regular expressions of llama.cpp read ASCII digits alone here.
        let bytes = inside.as_bytes();
        let mut cuts = vec![0];
        let mut at = 0;
        while at < bytes.len() {
            let run = bytes[at..]
                .iter()
                .take_while(|b| b.is_ascii_digit())
                .count();
            cuts.extend((0..run / 3).rev().map(|i| at + run - 3 * (i + 1)));
            at += run.max(1);
        }
        cuts.push(bytes.len());
        cuts.dedup();
        Ok(cuts.windows(2).map(|w| ((w[0], w[1]), true)).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokenizers::{OffsetReferential, OffsetType};

    fn pieces(name: &str, text: &str) -> Result<Vec<String>, Box<dyn std::error::Error>> {
        let mut pieces = PreTokenizedString::from(text);
        let steps = PreTokenizerSteps::new(name)?;
        steps.cut(&mut pieces).map_err(|e| e.to_string())?;
        let splits = pieces.get_splits(OffsetReferential::Normalized, OffsetType::None);
        let mut out = Vec::new();
        for (piece, ..) in splits {
            let mut bytes = Vec::new();
            crate::tokenizer::byte_level::decode(piece.as_bytes(), &mut bytes);
            out.push(String::from_utf8_lossy(&bytes).into_owned());
        }
        Ok(out)
    }

    /// Pieces as llama.cpp cuts them. (DeepSeek's class of signs, `:-~`, has the Latin letters.)
    #[test]
    fn names_have_patterns_of_their_own() -> Result<(), Box<dyn std::error::Error>> {
        for (name, text, expected) in [
            ("default", "a!! 12345", &["a", "!!", " ", "123", "45"][..]),
            ("gpt-2", "a!! 12345", &["a", "!!", " 12345"]),
            ("llama-bpe", "a!! 12345", &["a", "!!", " ", "123", "45"]),
            ("qwen2", "a!! 12", &["a", "!!", " ", "1", "2"]),
            ("starcoder", "a 12", &["a", " ", "1", "2"]),
            ("superbpe", "a 1234567", &["a ", "1", "234", "567"]),
            ("tekken", "HelloWorld", &["Hello", "World"]),
            ("gpt-4o", "don'T heyWorld", &["don'T", " hey", "World"]),
            ("kimi-k2", "語a言", &["語", "a", "言"]),
            (
                "deepseek-llm",
                "été 12\n",
                &["é", "t", "é", " ", "12", "\n"],
            ),
        ] {
            let got = pieces(name, text)?;
            assert_eq!(got, expected, "{name}");
        }
        Ok(())
    }

    #[test]
    fn every_row_is_read_and_loses_nothing() -> Result<(), Box<dyn std::error::Error>> {
        let text = "Don't  é語かな 1234567 ½٣\r\n\n\t {x}+`~ 👩‍🚀 हिन्दी\u{a0}\u{3000}。";
        assert!(TABLE.len() > 43);
        for row in TABLE {
            assert_eq!(pieces(row.name, text)?.concat(), text, "{}", row.name);
        }
        assert!(PreTokenizerSteps::new("no such").is_err());
        Ok(())
    }

    #[test]
    fn long_runs_of_digits_end() -> Result<(), Box<dyn std::error::Error>> {
        let got = pieces("superbpe", &"7".repeat(1 << 20))?;
        assert_eq!(got.len(), (1_usize << 20).div_ceil(3));
        Ok(())
    }
}
