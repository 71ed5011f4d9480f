//! Who may generate and how much; what is refused before it costs anything; what canisters pay.

use anyhow::{Context, Result, ensure};
use candid::{Encode, Principal};
use e2e::harness::{Direct, caller, greedy};
use e2e::tiny_model::Tiny;
use interface::{
    Access, AccessChange, AccountInfo, ChatCreateArgs, ConfigPatch, Done, Error, GenerateArgs,
    Input, LogEntry, Outcome, Role, Started,
};

fn request(max_tokens: u32) -> GenerateArgs {
    GenerateArgs {
        input: Input::Prompt("Once".into()),
        options: Some(greedy(max_tokens)),
        ..GenerateArgs::default()
    }
}

fn generate(d: &mut Direct, who: Principal, max_tokens: u32) -> Result<Outcome<Started>> {
    d.update(who, "generate", (request(max_tokens),))
}

fn account(d: &mut Direct, who: Principal) -> Result<AccountInfo> {
    d.query(who, "account", ())
}

fn role(d: &mut Direct, principal: Principal, role: Role) -> Result<()> {
    let change = vec![AccessChange { principal, role }];
    let done: Done = d.update(caller(0), "set_access", (change,))?;
    Ok(done?)
}

#[test]
fn only_those_who_may_generate() -> Result<()> {
    let mut d = Direct::with_model(&Tiny::default())?;
    let (me, nobody) = (caller(1), Principal::anonymous());
    // Within the canister and before it: the same answer.
    for inspects in [false, true] {
        d.inspects = inspects;
        let may = |d: &mut Direct, who: Principal| match generate(d, who, 1) {
            Ok(Ok(_)) => Ok(true),
            Ok(Err(Error::Unauthorized(_))) if !inspects => Ok(false),
            Err(e) if inspects && format!("{e:?}").contains("refused: Unauthorized: ") => Ok(false),
            other => Err(anyhow::anyhow!("{other:?}")),
        };
        for (access, expected) in [
            (Access::Anyone, [true, true, true]),
            (Access::SignedIn, [true, true, false]),
            (Access::AllowList, [true, false, false]),
            (Access::Controllers, [true, false, false]),
        ] {
            d.config(ConfigPatch {
                access: Some(access),
                ..ConfigPatch::default()
            })?;
            for (who, expected) in [caller(0), me, nobody].into_iter().zip(expected) {
                ensure!(may(&mut d, who)? == expected, "{access:?} {who}");
                ensure!(account(&mut d, who)?.may_generate.is_none() == expected);
            }
        }
        role(&mut d, me, Role::Allowed)?;
        ensure!(may(&mut d, me)?);
        d.config(ConfigPatch {
            access: Some(Access::Anyone),
            ..ConfigPatch::default()
        })?;
        role(&mut d, me, Role::Banned)?;
        ensure!(!may(&mut d, me)?);
        role(&mut d, me, Role::Ordinary)?;
    }
    // Who did what is written down.
    let log: Outcome<Vec<LogEntry>> = d.query(caller(0), "logs", (0u64,))?;
    let log = log?;
    ensure!(
        log.iter()
            .any(|l| l.by == Some(caller(0)) && l.text.contains("Banned"))
    );
    ensure!(
        log.iter()
            .any(|l| l.by == Some(caller(0)) && l.text.contains("access: SignedIn"))
    );
    let refused: Outcome<Vec<LogEntry>> = d.query(me, "logs", (0u64,))?;
    ensure!(matches!(refused, Err(Error::Unauthorized(_))));
    d.inspects = false;
    let refused: Done = d.update(me, "set_access", (Vec::<AccessChange>::new(),))?;
    ensure!(matches!(refused, Err(Error::Unauthorized(_))));
    let refused: Outcome<interface::Config> =
        d.update(me, "set_config", (ConfigPatch::default(),))?;
    ensure!(matches!(refused, Err(Error::Unauthorized(_))));
    Ok(())
}

#[test]
fn quotas_count_tokens_read_and_drawn() -> Result<()> {
    let mut d = Direct::with_model(&Tiny::default())?;
    d.inspects = false;
    let me = caller(1);
    d.config(ConfigPatch {
        tokens_per_day: Some(100),
        tokens_in_flight: Some(60),
        generations_per_caller: Some(2),
        chats_per_caller: Some(2),
        max_output_tokens: Some(1_000),
        ..ConfigPatch::default()
    })?;
    // More at once than may be in flight.
    match generate(&mut d, me, 70)? {
        Err(Error::QuotaExceeded { what, limit, .. }) => {
            ensure!(what == "tokens in flight" && limit == 60);
        }
        other => panic!("{other:?}"),
    }
    let id = generate(&mut d, me, 40)??;
    let end = d.finish(me, id.id)?;
    let used = u64::from(end.prompt_tokens + end.generated_tokens);
    let now = account(&mut d, me)?;
    ensure!(
        (now.tokens_today, now.tokens_in_flight) == (used, 0),
        "{now:?}"
    );
    ensure!(now.resets_ns > d.replica.time_ns());
    // A cancelled one counts what it did, not what it might have.
    d.one_message_a_round();
    d.budget(9_000_000)?;
    let id = generate(&mut d, me, 40)??;
    ensure!(account(&mut d, me)?.tokens_in_flight > 40);
    let cancelled: Done = d.update(me, "cancel", (id.id,))?;
    cancelled?;
    let end = d.look(me, id.id)?;
    let used = used + u64::from(end.prompt_tokens_done + end.generated_tokens);
    let now = account(&mut d, me)?;
    ensure!(
        (now.tokens_today, now.tokens_in_flight) == (used, 0),
        "{now:?} {end:?}"
    );
    // The day's end is the end of what a caller may; others may, and tomorrow it may again.
    d.budget(1_900_000_000)?;
    let mut refused = None;
    for _ in 0..10 {
        match generate(&mut d, me, 30)? {
            Ok(started) => {
                d.finish(me, started.id)?;
            }
            Err(e) => {
                refused = Some(e);
                break;
            }
        }
    }
    let Some(Error::QuotaExceeded {
        what,
        resets_ns: Some(resets),
        ..
    }) = refused
    else {
        panic!("{refused:?}");
    };
    ensure!(what == "tokens a day");
    ensure!(account(&mut d, me)?.tokens_today <= 100);
    ensure!(generate(&mut d, caller(2), 5)?.is_ok() && generate(&mut d, caller(0), 500)?.is_ok());
    d.settle()?;
    d.replica.set_time_ns(resets + 1);
    ensure!(generate(&mut d, me, 30)?.is_ok());
    d.settle()?;
    // Chats have a limit of their own.
    for expected in [true, true, false] {
        let made: Outcome<interface::ChatInfo> =
            d.update(me, "chat_create", (ChatCreateArgs::default(),))?;
        ensure!(made.is_ok() == expected, "{made:?}");
    }
    // Generations at once.
    d.config(ConfigPatch {
        tokens_per_day: Some(0),
        tokens_in_flight: Some(0),
        round_instructions: Some(9_000_000),
        ..ConfigPatch::default()
    })?;
    for expected in [true, true, false] {
        let started = generate(&mut d, me, 900)?;
        ensure!(started.is_ok() == expected, "{started:?}");
    }
    Ok(())
}

#[test]
fn what_would_be_refused_is_refused_before_it_costs() -> Result<()> {
    let mut d = Direct::with_model(&Tiny::default())?;
    let me = caller(1);
    let canister = d.canister;
    let cycles = |d: &Direct| d.replica.canister(&canister).map_or(0, |c| c.cycles);
    let before = cycles(&d);
    // Two megabytes by somebody who may not upload; a prompt longer than any; a round by hand.
    let big = vec![7; 1_900_000];
    for (method, arg, why) in [
        ("upload_chunk", big.clone(), "Unauthorized"),
        ("upload_begin", big.clone(), "InvalidArgument"),
        ("upload_abort", vec![], "Unauthorized"),
        ("set_config", vec![], "Unauthorized"),
        ("generate", big.clone(), "InvalidArgument"),
        ("chat_send", big, "InvalidArgument"),
        ("round", vec![0; 8], "Unauthorized"),
    ] {
        let management = Principal::management_canister();
        ensure!(canister != management);
        let refused = d.submit(canister, me, method, arg);
        let reject = refused.err().with_context(|| method.to_string())?;
        ensure!(
            reject.message.contains(&format!("refused: {why}: ")),
            "{method}: {reject:?}"
        );
    }
    ensure!(cycles(&d) == before, "a refused message was paid for");
    // A controller's chunk outside of an upload, and a quota that is used up.
    let refused = d.submit(canister, caller(0), "upload_chunk", vec![0; 100]);
    ensure!(refused.is_err_and(|r| r.message.contains("refused: WrongPhase: ")));
    d.config(ConfigPatch {
        tokens_per_day: Some(1),
        ..ConfigPatch::default()
    })?;
    d.inspects = false;
    ensure!(generate(&mut d, me, 1)?.is_err());
    d.inspects = true;
    ensure!(account(&mut d, me)?.tokens_today == 0);
    // Somebody else's round does nothing even where it is not inspected.
    let rounds = d.status()?.rounds;
    d.inspects = false;
    let _ = d.raw(me, "round", vec![1, 0, 0, 0, 0, 0, 0, 0]);
    ensure!(d.status()?.rounds == rounds);
    Ok(())
}

/// Calls a method of a canister with cycles and gives its answer: 16 bytes of cycles that came back,
/// then the reply.
const PAYER: &str = r#"(module
    (import "ic0" "msg_arg_data_size" (func $size (result i32)))
    (import "ic0" "msg_arg_data_copy" (func $copy (param i32 i32 i32)))
    (import "ic0" "msg_cycles_refunded128" (func $refunded (param i32)))
    (import "ic0" "msg_reply_data_append" (func $append (param i32 i32)))
    (import "ic0" "msg_reply" (func $reply))
    (import "ic0" "call_new" (func $new (param i32 i32 i32 i32 i32 i32 i32 i32)))
    (import "ic0" "call_data_append" (func $data (param i32 i32)))
    (import "ic0" "call_cycles_add128" (func $cycles (param i64 i64)))
    (import "ic0" "call_perform" (func $perform (result i32)))
    (memory 40)
    (table 1 funcref) (elem (i32.const 0) $answered)
    ;; Argument: cycles (8 bytes), callee (10 bytes), length of the method's name (1), name, payload.
    (func (export "canister_update call") (local $n i32)
        (call $copy (i32.const 100) (i32.const 0) (call $size))
        (local.set $n (i32.load8_u (i32.const 118)))
        (call $new (i32.const 108) (i32.const 10) (i32.const 119) (local.get $n)
            (i32.const 0) (i32.const 0) (i32.const 0) (i32.const 0))
        (call $data (i32.add (i32.const 119) (local.get $n))
            (i32.sub (i32.sub (call $size) (i32.const 19)) (local.get $n)))
        (call $cycles (i64.const 0) (i64.load (i32.const 100)))
        (drop (call $perform)))
    (func $answered (param i32)
        (call $refunded (i32.const 16))
        (call $copy (i32.const 32) (i32.const 0) (call $size))
        (call $append (i32.const 16) (i32.add (i32.const 16) (call $size)))
        (call $reply)))"#;

#[test]
fn canisters_pay_for_what_they_use_to_the_cycle() -> Result<()> {
    let mut d = Direct::with_model(&Tiny::default())?;
    let payer = d.another(&wat::parse_str(PAYER)?)?;
    const PRICE: u64 = 3_000_000_000_000_007;
    d.config(ConfigPatch {
        cycles_per_million_tokens: Some(PRICE.into()),
        ..ConfigPatch::default()
    })?;
    let canister = d.canister;
    let call = |d: &mut Direct, cycles: u64, max_tokens: u32| -> Result<(u64, Outcome<Started>)> {
        let mut arg = cycles.to_le_bytes().to_vec();
        arg.extend(canister.as_slice());
        arg.push(8);
        arg.extend(b"generate");
        arg.extend(Encode!(&request(max_tokens))?);
        let reply = d
            .raw_to(payer, caller(1), "call", arg)
            .map_err(|e| anyhow::anyhow!("{e:?}"))?;
        let (back, reply) = reply.split_at_checked(16).context("a short reply")?;
        let back = u64::from_le_bytes(back[..8].try_into()?);
        Ok((back, candid::decode_one(reply)?))
    };
    let cost = |tokens: u64| (u128::from(tokens) * u128::from(PRICE)).div_ceil(1_000_000) as u64;
    // Too little: nothing is taken.
    let (back, refused) = call(&mut d, 1_000_000, 20)?;
    ensure!(back == 1_000_000);
    let Err(Error::PaymentRequired { required, attached }) = refused else {
        panic!("{refused:?}");
    };
    ensure!(attached == 1_000_000);
    // Enough and more: the most it can cost is taken, and what was not used comes back at the end.
    let sent = 2 * u64::try_from(required)?;
    let balance = |d: &Direct, id| d.replica.canister(&id).map_or(0, |c| c.cycles);
    let income = balance(&d, canister);
    let (back, started) = call(&mut d, sent, 20)?;
    let started = started?;
    ensure!(sent - back == cost(u64::from(started.prompt_tokens) + 20));
    let end = d.finish(caller(0), started.id)?;
    let used = u64::from(end.prompt_tokens + end.generated_tokens);
    let before = balance(&d, payer);
    d.rounds(5);
    // The deposit has arrived by now or in these rounds; either way the sum is exact.
    ensure!(balance(&d, payer) >= before);
    let kept = cost(used);
    println!(
        "attached {sent}, taken {}, kept {kept} for {used} tokens",
        sent - back
    );
    ensure!(
        balance(&d, canister) > income,
        "the price was more than the work"
    );
    // A generation that stops early: a cancel by the controller, most of it comes back.
    d.one_message_a_round();
    d.budget(9_000_000)?;
    let (back, started) = call(&mut d, cost(4_000), 2_000)?;
    let started = started?;
    let taken = cost(4_000) - back;
    d.rounds(3);
    let before = balance(&d, payer);
    let cancelled: Done = d.update(caller(0), "cancel", (started.id,))?;
    cancelled?;
    d.rounds(5);
    let end = d.look(caller(0), started.id)?;
    let used = u64::from(end.prompt_tokens_done + end.generated_tokens);
    let came = balance(&d, payer) - before;
    // The payer pays for its memory meanwhile: a few million cycles.
    let due = u128::from(taken - cost(used));
    ensure!(came <= due && due - came < 100_000_000, "{came} of {due}");
    // People cannot attach cycles, and are not asked to.
    d.budget(1_900_000_000)?;
    ensure!(generate(&mut d, caller(1), 2)?.is_ok());
    Ok(())
}
