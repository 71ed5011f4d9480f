import { AgentError } from '@icp-sdk/core/agent';
import { IDL } from '@icp-sdk/core/candid';
import { idlFactory, type Error as CanisterError } from '../bindings/llm.did';

// What the canister would refuse anyway it refuses before it takes the message in. Then its error comes as
// text, for people and, in Candid and hexadecimal, for programs (interface/src/refusal.rs):
//
//     refused: Busy: busy: the queue is full (limit 64); try again later [4449444c…]
const REFUSAL = /refused: ([^\n\r]*?) ?\[([0-9a-f]*)\][^[\]\n\r]*$/m;

/** The Candid type of the canister's errors: the other case of what `cancel` returns. */
function errorType(): IDL.Type<CanisterError> {
  const service = idlFactory({ IDL }) as IDL.ServiceClass;
  const cancel = service._fields.find(([name]) => name === 'cancel')?.[1];
  const result = cancel?.retTypes[0] as IDL.VariantClass | undefined;
  const error = result?._fields.find(([name]) => name === 'Err')?.[1];
  if (!error) throw new TypeError('llm.did: cancel returns no error');
  return error as IDL.Type<CanisterError>;
}

/** Returns the error in the text of a refusal; null if there is none, or one that this page does not know. */
export function decode(text: string): CanisterError | null {
  const digits = REFUSAL.exec(text)?.[2];
  if (!digits) return null;
  const bytes = Uint8Array.from(digits.match(/../g) ?? [], (pair) => Number.parseInt(pair, 16));
  try {
    const [error] = IDL.decode([errorType()], bytes);
    return error as unknown as CanisterError;
  } catch {
    return null;
  }
}

/** Returns what the text of a refusal says to people; null if it is no refusal. */
export function words(text: string): string | null {
  return REFUSAL.exec(text)?.[1] ?? null;
}

/** Returns the canister's error behind a rejected call; null if there is none that this page knows. */
export function refusal(error: unknown): CanisterError | null {
  const text = rejection(error);
  return text === null ? null : decode(text);
}

/** Returns the text of a rejected call; null for every other error. */
export function rejection(error: unknown): string | null {
  if (!(error instanceof AgentError) || !('rejectMessage' in error.code)) return null;
  return String(error.code.rejectMessage);
}
