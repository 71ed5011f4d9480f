import type { ChatTurn } from '../bindings/llm.did';
import { hex } from './format';

const NAMES: Record<string, string> = { system: 'System', user: 'You', assistant: 'Answer' };

/** A chat as Markdown, with what is needed to compute its answers again. */
export function markdownOf(title: string, turns: ChatTurn[]): string {
  const parts = turns.map((turn) => {
    const figures =
      turn.role === 'assistant'
        ? `\n\n<!-- seed ${turn.seed}, ${turn.generated_tokens} tokens, ${turn.instructions} instructions, ` +
          `model ${hex(turn.model_sha256)} -->`
        : '';
    return `## ${NAMES[turn.role] ?? turn.role}\n\n${turn.content}${figures}`;
  });
  return `# ${title}\n\n${parts.join('\n\n')}\n`;
}

/** Saves a chat as a file. */
export function exportChat(title: string, turns: ChatTurn[]): void {
  const name = title.replace(/[^\p{L}\p{N} -]/gu, '').trim() || 'chat';
  save(`${name}.md`, markdownOf(title, turns), 'text/markdown');
}

/** Saves a text as a file. */
export function save(name: string, text: string, type: string): void {
  const url = URL.createObjectURL(new Blob([text], { type }));
  const link = document.createElement('a');
  link.href = url;
  link.download = name;
  link.click();
  URL.revokeObjectURL(url);
}
