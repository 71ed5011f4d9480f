//! Threads for canister code.

/// Stack of canister code, in bytes. The IC gives 5 MiB to code that its compiler does not optimise
/// and whose frames are larger: this is as deep as a measured recursion went there.
pub const WASM_STACK: usize = (5 << 19) + 112;
/// Stack of a thread that runs canister code, in bytes.
pub const THREAD_STACK: usize = WASM_STACK + (3 << 20);

/// Runs something on a stack that canister code fits on.
pub fn on_big_stack<T: Send>(run: impl FnOnce() -> T + Send) -> T {
    std::thread::scope(|scope| {
        let handle = std::thread::Builder::new()
            .name("canister".into())
            .stack_size(THREAD_STACK)
            .spawn_scoped(scope, run)
            .expect("the system gives a thread");
        match handle.join() {
            Ok(value) => value,
            Err(panic) => std::panic::resume_unwind(panic),
        }
    })
}
