import { Actor, CanisterStatus, HttpAgent, type ActorSubclass, type Identity } from '@icp-sdk/core/agent';
import type { Principal } from '@icp-sdk/core/principal';
import { idlFactory, type _SERVICE, type Error as CanisterError } from '../bindings/llm.did';
import { count, when } from '../text/format';
import type { Network } from './network';
import { refusal, rejection, words } from './refusal';

export type Canister = ActorSubclass<_SERVICE>;
export type { CanisterError };

/** The canister said no, and why. */
export class Refused extends globalThis.Error {
  constructor(readonly reason: CanisterError) {
    super(explain(reason));
  }
}

/** A typed canister, called as `identity`. Every answer's certificate or signature is verified. */
export interface Backend {
  canister: Canister;
  principal: Principal;
  /** Of the canister; from the certified state, empty where it cannot be read. */
  controllers(): Promise<Principal[]>;
}

export async function connect(network: Network, identity: Identity): Promise<Backend> {
  const agent = await HttpAgent.create({
    host: network.host,
    identity,
    shouldFetchRootKey: network.local,
    // The page retries by itself, and says so.
    retryTimes: 0,
  });
  return {
    canister: refusing(Actor.createActor<_SERVICE>(idlFactory, { agent, canisterId: network.canister })),
    principal: identity.getPrincipal(),
    async controllers() {
      const status = await CanisterStatus.request({
        agent,
        canisterId: network.canister,
        paths: ['controllers'],
      });
      return (status.get('controllers') as Principal[] | null) ?? [];
    },
  };
}

/** The same canister, whose refusals before a message is taken in are {@link Refused} too. */
function refusing(canister: Canister): Canister {
  type Method = (...args: unknown[]) => Promise<unknown>;
  const get = (target: Canister, name: string | symbol): unknown => {
    const method: unknown = Reflect.get(target, name);
    if (typeof method !== 'function') return method;
    return (...args: unknown[]) =>
      (method as Method)(...args).catch((error: unknown) => {
        const reason = refusal(error);
        throw reason ? new Refused(reason) : error;
      });
  };
  return new Proxy(canister, { get });
}

/** The value of a result, or throws {@link Refused}. */
export function ok<T>(result: { Ok: T } | { Err: CanisterError }): T {
  if ('Err' in result) throw new Refused(result.Err);
  return result.Ok;
}

/** What went wrong, for people. */
export function message(error: unknown): string {
  if (error instanceof Refused) return error.message;
  if (error instanceof TypeError) return 'The network cannot be reached.';
  const rejected = rejection(error);
  if (rejected !== null) return `The canister did not take it: ${(words(rejected) ?? rejected).slice(0, 300)}`;
  const text = error instanceof globalThis.Error ? error.message : String(error);
  if (/fetch|network|ECONN|Failed to|timed? ?out/i.test(text)) return 'The network cannot be reached.';
  return text.split('\n')[0]?.slice(0, 300) ?? 'Something went wrong.';
}

/** An error of the canister in a sentence. */
export function explain(error: CanisterError): string {
  if ('Unauthorized' in error) return `You may not do this: ${error.Unauthorized}.`;
  if ('InvalidArgument' in error) return `This is not allowed: ${error.InvalidArgument}.`;
  if ('NotFound' in error) return `There is no such thing: ${error.NotFound}.`;
  if ('WrongPhase' in error) return `The model is not ready (${error.WrongPhase.phase}): ${error.WrongPhase.hint}.`;
  if ('WrongChunk' in error) return `A chunk was refused: ${error.WrongChunk.reason}.`;
  if ('MissingChunks' in error) return `${error.MissingChunks.count} chunks are missing.`;
  if ('HashMismatch' in error) return 'The stored file is not the one that was announced.';
  if ('InvalidModel' in error) return `This is no well-formed GGUF file: ${error.InvalidModel}.`;
  if ('UnsupportedModel' in error) return `This model cannot be run yet: ${error.UnsupportedModel}.`;
  if ('PromptTooLong' in error) {
    const { prompt_tokens, max_prompt_tokens } = error.PromptTooLong;
    return `Too long: ${prompt_tokens} tokens, and ${max_prompt_tokens} fit. Shorten it or begin a new chat.`;
  }
  if ('BudgetTooSmall' in error) return 'The instruction budget of a round is too small for this model.';
  if ('Busy' in error) return `Busy: ${error.Busy}.`;
  if ('OutOfMemory' in error) return `Out of memory: ${error.OutOfMemory}.`;
  if ('RoundFailed' in error) return `The answer was given up: ${error.RoundFailed}.`;
  if ('Cancelled' in error) return 'Stopped.';
  if ('Stopping' in error) return 'The canister is stopping; the answer goes on after its start.';
  if ('QuotaExceeded' in error) {
    const { what, limit, used, resets_ns } = error.QuotaExceeded;
    const again = resets_ns[0] === undefined ? '' : ` Again after ${when(resets_ns[0])}.`;
    return `Your share is used up (${what}): ${count(used)} of ${count(limit)}.${again}`;
  }
  if ('LowCycles' in error) return `The canister has too few cycles to work: ${error.LowCycles}.`;
  return 'Calling canisters have to pay here.';
}
