import { controls, lost, network, phase, status } from '../state/session';

const WORDS: Record<string, string> = {
  Uploading: 'A model is being uploaded',
  Verifying: 'The uploaded model is being verified',
  Preparing: 'The model is being made ready',
  Restoring: 'The canister was upgraded; the model comes back to memory',
};

/** What keeps the canister from answering, if anything does. */
export function Banner() {
  if (!network) {
    return (
      <p class="banner bad" role="alert">
        This address names no canister: open the page at its own address.
      </p>
    );
  }
  if (lost.value) {
    return (
      <p class="banner bad" role="alert">
        The canister cannot be reached. What it is writing goes on; trying again…
      </p>
    );
  }
  const model = status.value?.model;
  const paused = status.value?.paused[0];
  if (paused) {
    return (
      <p class="banner bad" role="status">
        The canister does no work now: {paused}.
      </p>
    );
  }
  if (!model || phase.value === 'Ready' || phase.value === null) return null;
  if (phase.value === 'Empty' || phase.value === 'Failed') {
    return (
      <p class="banner" role="status">
        {phase.value === 'Empty' ? 'There is no model in the canister yet.' : 'The last upload failed.'}{' '}
        <a href="#/admin">{controls.value ? 'Upload one' : 'More'}</a>
      </p>
    );
  }
  const total = Number(model.total);
  const share = total > 0 ? Number(model.done) / total : 0;
  return (
    <div class="banner" role="status">
      <span>
        {WORDS[phase.value] ?? phase.value}: {Math.floor(share * 100)} %
      </span>
      <progress max={1} value={share} aria-label="How far it is" />
    </div>
  );
}
