import { Principal } from '@icp-sdk/core/principal';

/** Where this page comes from: which canister, by which address it is called. */
export interface Network {
  canister: Principal;
  /** Of the API, with scheme. */
  host: string;
  /** A replica on this machine: its root key is taken from itself. */
  local: boolean;
}

const LOCAL = /(^|\.)localhost$|^127\.0\.0\.1$/;
const API = 'https://icp-api.io';

/** Reads the network from the page's address; null where that names no canister. */
export function networkOf(location: URL): Network | null {
  const local = LOCAL.test(location.hostname);
  const named = location.searchParams.get('canisterId') ?? location.hostname.split('.')[0];
  try {
    const canister = Principal.fromText(named ?? '');
    return { canister, host: local ? location.origin : API, local };
  } catch {
    return null;
  }
}
