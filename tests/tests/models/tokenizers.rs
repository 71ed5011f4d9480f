//! The engine's tokenizers against the models' own published ones, which the tokenizers crate runs.

use anyhow::{Context, Result, ensure};
use e2e::published::Published;
use engine::Tokenizer;
use engine::inference::text_stream::TextStream;
use tokenizers::NormalizedString;
use weights::gguf::source::FileSource;
use weights::{ByteSource, GgufFile};

/// Many scripts, emoji, code, odd whitespace, digits, contractions, marks and control characters.
const TEXTS: [&str; 24] = [
    include_str!("../../data/alice.txt"),
    include_str!("../../data/texts/code.txt"),
    include_str!("../../data/texts/french.txt"),
    "日本語のテキスト。「引用」カタカナ、ひらがな。한국어 문장이 있다. 中文，標點符號！繁體字",
    "Ελληνικά και πολυτονικό ᾄ, русский язык, български, українська ї, ქართული, հայերեն",
    "العربية، مُشَكَّلَة ١٢٣ ۴۵۶, עברית עִם נִקּוּד, فارسی با نیم‌فاصله, اردو",
    "हिन्दी क्षत्रिय १२३, தமிழ், తెలుగు, ಕನ್ನಡ, മലയാളം, বাংলা, ไทยไม่มีช่องว่าง, ພາສາລາວ, မြန်မာ, ខ្មែរ, አማርኛ",
    "👩‍👩‍👧‍👦👩🏽‍🚀🏳️‍🌈 flags 🇨🇭🇫🇷 keycap 1️⃣ and ☃︎ ☃️ 😀😀😀 \u{1F600}\u{200D}\u{FE0F} 𝔘𝔫𝔦𝔠𝔬𝔡𝔢 𒀀 𓂀",
    "zero\u{200B}width \u{200C}\u{200D}joiners\u{FEFF} \u{2060}soft\u{AD}hyphen \u{202E}override\u{202C}",
    "  leading, \t tabs\t\t, \r\n lines\n\n\n   and trailing   \u{a0}\u{3000} ",
    "a\r\n\r\nb\r\rc\n \n  \n\n\td \u{2028}e\u{2029}f\u{85}g\u{b}h\u{c}i\u{1680}j\u{2003}k",
    "\n",
    "\n\n",
    " ",
    "   ",
    "\t\t\t\t",
    "1 12 123 1234 12345 123456 1234567890123 3.14159 1,000,000 0x1F 1e-9 ²³¼½ ①② Ⅷ ٣٤ 一二",
    "don't I'll we've they're she'd it's I'm 'quoted' DON'T I'LL WE'VE THEY'RE it'ſ ’twas l’été 'Tis",
    "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa ================ ---------- ...... !!!!??? ((([[[{{{",
    "e\u{301} é ñ n\u{303} ồ o\u{302}\u{300} \u{1100}\u{1161}\u{11a8}각 ﬁ ﷺ Å \u{212B} \u{344} \u{958}",
    "\u{0}\u{1}\u{2}\u{7}\u{8}\u{1b}[31mred\u{1b}[0m\u{7f}\u{9f}\u{fffd}\u{fffe}\u{e000}\u{f8ff}\u{10ffff}",
    "fn main() { println!(\"{:?}\", x->y && !z || a<=b); } // ünïcödé\n\t\tif (x==1)\t{return;}\n<div class='a'>&nbsp;</div>",
    "https://example.org/a?b=c&d=%20e#f user@example.com C:\\Windows\\System32 #hashtag @mention $PATH ~/.config",
    "The end of a word, the beginning ▁of another Ġ Ċ ## ##ing <0x0A> [UNK] ĠĠ âĢľ",
];

/// What ours makes of a text, without the token that begins a text. Its words are streamed: what is
/// shown is never half a character, and in the end it is the text.
fn ours(tokenizer: &Tokenizer, text: &str, says: &dyn Fn(&str) -> String) -> Result<Vec<u32>> {
    let begin = tokenizer.encode_plain("")?.len();
    let ids = tokenizer.encode_plain(text)?.split_off(begin);
    let said = says(text);
    let mut stream = TextStream::default();
    for id in &ids {
        stream.push(*id, tokenizer, &[]);
        ensure!(
            said.starts_with(&stream.text),
            "{:?} is shown of {text:?}",
            stream.text
        );
    }
    stream.finish();
    ensure!(stream.text == said, "{:?} instead of {said:?}", stream.text);
    Ok(ids)
}

/// The text that tokens say: composed for Qwen; for SentencePiece with blanks for what stands for
/// them, after one more at the beginning if the model puts it there.
fn says(name: &str) -> impl Fn(&str) -> String + '_ {
    move |text| match name {
        "qwen2_5" | "qwen3" => {
            let mut text = NormalizedString::from(text);
            text.nfc();
            text.get().into()
        }
        "gemma3" => text.replace('\u{2581}', " "),
        "llama2" if text.is_empty() => String::new(),
        "llama2" => format!(" {}", text.replace('\u{2581}', " ")),
        _ => text.into(),
    }
}

fn compare<S: ByteSource + ?Sized>(name: &str, published: &Published, source: &S) -> Result<()> {
    let file = GgufFile::read(source)?;
    let tokenizer = Tokenizer::from_gguf(source, &file)?;
    let says = says(name);
    let theirs = tokenizers::Tokenizer::from_file(&published.path).map_err(anyhow::Error::msg)?;
    let expected = |text: &str| -> Result<Vec<u32>> {
        let encoding = theirs.encode(text, false).map_err(anyhow::Error::msg)?;
        Ok(encoding.get_ids().to_vec())
    };
    let mut tokens = 0;
    for text in TEXTS {
        let (got, expected) = (ours(&tokenizer, text, &says)?, expected(text)?);
        let at = got
            .iter()
            .zip(&expected)
            .take_while(|(a, b)| a == b)
            .count();
        ensure!(
            got == expected,
            "{name}: {:?} from token {at} on: {:?}, published: {:?}",
            text.chars().take(80).collect::<String>(),
            &got[at..got.len().min(at + 8)],
            &expected[at..expected.len().min(at + 8)]
        );
        tokens += got.len();
    }
    // Every beginning and every end, so that words and characters of all kinds end and begin texts.
    for text in TEXTS.iter().filter(|t| t.len() < 200) {
        for (at, _) in text.char_indices() {
            for part in [&text[..at], &text[at..]] {
                ensure!(
                    ours(&tokenizer, part, &says)? == expected(part)?,
                    "{name}: {part:?}"
                );
            }
        }
    }
    println!("{name}: {tokens} tokens");
    Ok(())
}

#[test]
fn tokens_are_those_of_the_published_tokenizers() -> Result<()> {
    for (name, pre) in [
        ("gpt2", "gpt-2"),
        ("llama3_2", "llama-bpe"),
        ("qwen2_5", "qwen2"),
        ("qwen3", "qwen2"),
        ("llama2", ""),
    ] {
        let published = Published::fetch(name)?;
        compare(name, &published, &published.gguf(pre)?).context(name)?;
    }
    Ok(())
}

#[test]
fn tokens_of_gemma_s_file_are_those_of_its_published_tokenizer() -> Result<()> {
    let published = Published::fetch("gemma3")?;
    compare("gemma3", &published, &FileSource::open(e2e::gemma()?)?)
}

/// A prompt of one kind of character, as long as any may be, is cut up in time.
#[test]
fn the_longest_prompts_are_taken() -> Result<()> {
    for (name, pre) in [("llama3_2", "llama-bpe"), ("gpt2", "gpt-2"), ("llama2", "")] {
        let file = Published::fetch(name)?.gguf(pre)?;
        let tokenizer = Tokenizer::from_gguf(&file, &GgufFile::read(&file)?)?;
        for kind in [" ", "\n", "a", "1", "<", "\t \n", "'", "é"] {
            let text = kind.repeat(engine::tokenizer::MAX_PROMPT_BYTES / kind.len());
            let begin = std::time::Instant::now();
            let tokens = tokenizer.encode_plain(&text)?;
            let mut bytes = Vec::new();
            tokens.iter().for_each(|t| tokenizer.decode(*t, &mut bytes));
            let got = String::from_utf8(bytes)?;
            ensure!(
                got.trim_start_matches(' ') == text.trim_start_matches(' '),
                "{name}: {kind:?}"
            );
            println!(
                "{name} {kind:?}: {} tokens in {:?}",
                tokens.len(),
                begin.elapsed()
            );
        }
    }
    Ok(())
}
