import type { Status } from '../bindings/llm.did';
import { backend, controls, phase, status } from '../state/session';
import { bytes, count, hex, large, plural } from '../text/format';
import { CopyButton } from '../view/CopyButton';
import { AccessForm } from './AccessForm';
import { ConfigForm } from './ConfigForm';
import { DropZone } from './DropZone';
import { Library } from './Library';
import { Logs } from './Logs';

function Model({ of }: { of: Status }) {
  const manifest = of.model.manifest[0];
  const info = of.model.info[0];
  const failure = of.model.error[0];
  return (
    <section class="card" aria-labelledby="model-head">
      <h2 id="model-head">The model that answers</h2>
      <dl class="facts">
        <dt>State</dt>
        <dd>
          <span class={`state ${phase.value ?? ''}`}>{phase.value}</span>
          {of.model.total > of.model.done && (
            <progress max={Number(of.model.total)} value={Number(of.model.done)} aria-label="How far it is" />
          )}
          {failure && <small>{Object.keys(failure)[0]}: {String(Object.values(failure)[0])}</small>}
        </dd>
        {manifest && (
          <>
            <dt>File</dt>
            <dd>
              {manifest.name} <small>{bytes(manifest.size)}</small>
            </dd>
            <dt>SHA-256</dt>
            <dd class="with-copy">
              <code class="hash">{hex(manifest.sha256)}</code>
              <CopyButton label="Copy the hash" text={() => hex(manifest.sha256)} />
            </dd>
          </>
        )}
        {info && (
          <>
            <dt>Architecture</dt>
            <dd>
              {info.architecture}, {large(info.parameters)} parameters, {count(info.layers)} layers
            </dd>
            <dt>Context</dt>
            <dd>
              {count(info.context_length)} tokens <small>vocabulary of {count(info.vocabulary)}</small>
            </dd>
          </>
        )}
      </dl>
    </section>
  );
}

function Figures({ of }: { of: Status }) {
  return (
    <section class="card" aria-labelledby="figures-head">
      <h2 id="figures-head">Canister</h2>
      <dl class="facts tiles">
        <dt>Answers waiting or being written</dt>
        <dd>{count(of.generations_running)}</dd>
        <dt>Rounds so far</dt>
        <dd>{count(of.rounds)}</dd>
        <dt>Tokens read, written</dt>
        <dd>
          {count(of.totals.prompt_tokens)}, {count(of.totals.generated_tokens)}
          <small>{count(of.totals.cached_tokens)} were in the cache</small>
        </dd>
        <dt>Answers</dt>
        <dd>
          {count(of.totals.generations_finished)} finished, {count(of.totals.generations_failed)} failed or stopped
        </dd>
        <dt>Cycles</dt>
        <dd>
          {large(of.cycles)}
          <small>
            {large(of.liquid_cycles)} above the freezing threshold, enough for {plural(of.days_left, 'day')} without work
          </small>
        </dd>
        <dt>Chats</dt>
        <dd>{count(of.chats)}</dd>
        <dt>Cache</dt>
        <dd>
          {bytes(BigInt(of.cache.blocks_used) * of.cache.block_bytes)}
          <small>{plural(of.totals.evictions, 'cached chat')} were dropped to make room</small>
        </dd>
        <dt>Heap</dt>
        <dd>{bytes(of.heap_bytes)}</dd>
        <dt>Stable memory</dt>
        <dd>{bytes(of.stable_bytes)}</dd>
        <dt>Largest message</dt>
        <dd>{large(of.max_message_instructions)} instructions</dd>
        <dt>Version</dt>
        <dd>{of.version}</dd>
      </dl>
    </section>
  );
}

/** The canister, for its controllers; everyone else may look. */
export function Admin({ onAccount }: { onAccount: () => void }) {
  const now = status.value;
  const principal = backend.value?.principal.toText() ?? '';
  return (
    <div class="scroller">
      <div class="admin">
        <h1>{controls.value ? 'Administration' : 'The canister'}</h1>
        {!controls.value && backend.value && (
          <div class="hint">
            <p>
              You may look. Only controllers may change something. A controller can add you, for example with{' '}
              <code>icp canister settings update llm --add-controller {principal}</code>
            </p>
            <p>
              You have the key of a controller?{' '}
              <button type="button" class="link" onClick={onAccount}>
                Use it in this browser
              </button>
            </p>
          </div>
        )}
        {now === null ? (
          <div class="skeletons wide" role="status" aria-label="Loading the canister's state">
            <i /> <i /> <i />
          </div>
        ) : (
          <>
            <Model of={now} />
            <Library />
            {controls.value && <DropZone />}
            <Figures of={now} />
            <ConfigForm config={now.config} />
            {controls.value && <AccessForm access={now.config.access} />}
            {controls.value && <Logs />}
          </>
        )}
      </div>
    </div>
  );
}
