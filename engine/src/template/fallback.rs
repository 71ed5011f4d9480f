//! Templates for files that come without one, by architecture: what the family's instruction-tuned
//! models were trained on. A system prompt goes where the family's own template has it.

/// ChatML: SmolLM and Qwen.
const CHATML: &str = "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}";

/// Gemma has no system role: it stands before the first question.
const GEMMA: &str = "{{ bos_token }}{% set ns = namespace(system='') %}{% for m in messages %}{% if m.role == 'system' %}{% set ns.system = m.content | trim + '\n\n' %}{% else %}<start_of_turn>{{ 'model' if m.role == 'assistant' else m.role }}\n{{ ns.system }}{{ m.content | trim }}<end_of_turn>\n{% set ns.system = '' %}{% endif %}{% endfor %}{% if add_generation_prompt %}<start_of_turn>model\n{% endif %}";

/// Phi-3.
const PHI3: &str = "{% for m in messages %}<|{{ m.role }}|>\n{{ m.content }}<|end|>\n{% endfor %}{% if add_generation_prompt %}<|assistant|>\n{% endif %}";

/// Llama 3.
const LLAMA3: &str = "{{ bos_token }}{% for m in messages %}<|start_header_id|>{{ m.role }}<|end_header_id|>\n\n{{ m.content | trim }}<|eot_id|>{% endfor %}{% if add_generation_prompt %}<|start_header_id|>assistant<|end_header_id|>\n\n{% endif %}";

/// The template for an architecture whose tokenizer has this pre-tokenizer.
pub(super) fn template(architecture: &str, pre_tokenizer: &str) -> &'static str {
    match (architecture, pre_tokenizer) {
        ("gemma3", _) => GEMMA,
        ("phi3", _) => PHI3,
        ("llama", "llama-bpe" | "llama3" | "llama-v3") => LLAMA3,
        _ => CHATML,
    }
}
