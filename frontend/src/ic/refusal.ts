import { AgentError } from '@icp-sdk/core/agent';
import type { Error as CanisterError } from '../bindings/llm.did';

/**
 * The canister's error behind a rejected call. What it would refuse anyway it refuses before it takes
 * the message in, and then its error comes as text: `refused: Busy: the queue is full`.
 */
export function refusal(error: unknown): CanisterError | null {
  if (!(error instanceof AgentError) || !('rejectMessage' in error.code)) return null;
  const found = /refused: (\w+): (.*)/s.exec(String(error.code.rejectMessage));
  const [, name, text] = found ?? [];
  if (!name || text === undefined) return null;
  switch (name) {
    case 'Unauthorized':
      return { Unauthorized: text };
    case 'InvalidArgument':
      return { InvalidArgument: text };
    case 'OutOfMemory':
      return { OutOfMemory: text };
    case 'LowCycles':
      return { LowCycles: text };
    case 'WrongPhase': {
      const [phase = '', ...hint] = text.split(': ');
      return { WrongPhase: { phase, hint: hint.join(': ') } };
    }
    case 'QuotaExceeded': {
      const [, what = '', limit, used, resets] = /^(.*): (\d+): (\d+): (\d+)/s.exec(text) ?? [];
      const again = BigInt(resets ?? 0);
      return {
        QuotaExceeded: {
          what,
          limit: BigInt(limit ?? 0),
          used: BigInt(used ?? 0),
          resets_ns: again === 0n ? [] : [again],
        },
      };
    }
    default:
      return { Busy: text };
  }
}
