//! Runs a GGUF model natively: `cargo run --release -p engine --example generate -- FILE "prompt"`.

use engine::inference::budget::{CostModel, InstructionBudget, Unmetered};
use engine::inference::generation::{Generation, Request};
use engine::kv_cache::KvCache;
use engine::template::{Message, Template};
use engine::{Model, SamplerOptions, Step, Tokenizer};
use std::io::Write;
use weights::gguf::source::FileSource;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut args = std::env::args().skip(1);
    let (Some(path), Some(prompt)) = (args.next(), args.next()) else {
        return Err("usage: generate FILE PROMPT [TOKENS] [plain]".into());
    };
    let max_tokens = args.next().map_or(Ok(64), |n| n.parse())?;
    let plain = args.next().is_some();
    let source = FileSource::open(&path)?;
    let start = std::time::Instant::now();
    let (model, file) = Model::load(&source)?;
    eprintln!("packed in {:.2} s", start.elapsed().as_secs_f32());
    let tokenizer = Tokenizer::from_gguf(&source, &file)?;
    eprintln!("tokenizer after {:.2} s", start.elapsed().as_secs_f32());
    let tokens = if plain {
        tokenizer.encode_plain(&prompt)?
    } else {
        let message = Message {
            role: "user".into(),
            content: prompt,
        };
        Template::from_gguf(&file)?.encode(&[message], &tokenizer)?
    };
    eprintln!("prompt: {tokens:?}");
    let request = Request {
        sampler: SamplerOptions::default(),
        max_tokens,
        max_context: model.config.context_length,
        stops: vec![],
    };
    let mut generation = Generation::new(1, request, tokens)?;
    let mut ws = engine::inference::forward::Workspace::new(&model.config);
    let mut kv = KvCache::new(model.config.kv_shape());
    let mut costs = CostModel::default();
    let start = std::time::Instant::now();
    let mut shown = 0;
    loop {
        let mut budget = InstructionBudget::new(&Unmetered, &mut costs, u64::MAX, 0);
        let step = generation.step(&model, &tokenizer, &mut ws, &mut kv, &mut budget)?;
        print!("{}", &generation.text.text[shown..]);
        std::io::stdout().flush()?;
        shown = generation.text.text.len();
        if let Step::Finished(reason) = step {
            println!("\n[{reason:?}]");
            break;
        }
    }
    let seconds = start.elapsed().as_secs_f32();
    eprintln!("tokens: {:?}", generation.generated());
    eprintln!(
        "{:.1} ms a token",
        1e3 * seconds / generation.tokens.len() as f32
    );
    Ok(())
}
