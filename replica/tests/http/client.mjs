// Calls a canister with the JavaScript agent, everything verified. Arguments: URL, root key in
// hexadecimal, canister id, module hash in hexadecimal.
import assert from "node:assert/strict";
import { Actor, CanisterStatus, HttpAgent } from "@icp-sdk/core/agent";
import { IDL } from "@icp-sdk/core/candid";
import { Ed25519KeyIdentity, ECDSAKeyIdentity, DelegationChain, DelegationIdentity } from "@icp-sdk/core/identity";
import { Secp256k1KeyIdentity } from "@icp-sdk/core/identity/secp256k1";
import { Principal } from "@icp-sdk/core/principal";

const [host, rootKey, id, moduleHash] = process.argv.slice(2);
const canisterId = Principal.fromText(id);
const service = ({ IDL }) =>
  IDL.Service({
    echo: IDL.Func([IDL.Text], [IDL.Text], []),
    echo_query: IDL.Func([IDL.Text], [IDL.Text], ["query"]),
    boom: IDL.Func([], [], []),
    refused: IDL.Func([], [], []),
    missing: IDL.Func([], [], ["query"]),
  });

const fetched = await HttpAgent.create({ host, shouldFetchRootKey: true });
assert.equal(Buffer.from(fetched.rootKey).toString("hex"), rootKey);

const session = Ed25519KeyIdentity.generate();
const owner = Ed25519KeyIdentity.generate();
const tomorrow = new Date(Date.now() + 86_400_000);
const chain = await DelegationChain.create(owner, session.getPublicKey(), tomorrow, { targets: [canisterId] });
const identities = [
  owner,
  Secp256k1KeyIdentity.generate(),
  await ECDSAKeyIdentity.generate(),
  DelegationIdentity.fromDelegation(session, chain),
];
for (const identity of identities) {
  const agent = await HttpAgent.create({ host, identity, rootKey: fetched.rootKey });
  const canister = Actor.createActor(service, { agent, canisterId });
  assert.equal(await canister.echo("update"), "update");
  assert.equal(await canister.echo_query("query"), "query");
}

const agent = await HttpAgent.create({ host, rootKey: fetched.rootKey });
const canister = Actor.createActor(service, { agent, canisterId });
assert.equal(await canister.echo("anonymous"), "anonymous");
await assert.rejects(canister.boom(), /IC0502/);
await assert.rejects(canister.refused(), /Reject code/);
await assert.rejects(canister.missing(), /IC0536/);

const status = await CanisterStatus.request({
  canisterId,
  agent,
  paths: ["time", "controllers", "subnet", "module_hash", "candid"],
});
assert.equal(status.get("module_hash"), moduleHash);
assert.equal(status.get("candid"), "service : { inc : () -> () }");
assert.equal(status.get("subnet").nodeKeys.size, 1);
assert.ok(Math.abs(status.get("time") - Date.now()) < 60_000);

// An agent that trusts another key believes nothing.
const other = Uint8Array.from(fetched.rootKey);
other.set((await import("@icp-sdk/core/agent")).IC_ROOT_KEY.match(/../g).map((b) => parseInt(b, 16)));
const distrustful = await HttpAgent.create({ host, rootKey: other, retryTimes: 0 });
await assert.rejects(Actor.createActor(service, { agent: distrustful, canisterId }).echo("x"));
console.log("all good");
