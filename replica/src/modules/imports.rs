//! The System API as modules import it: names, signatures and fixed costs.

use wasmparser::ValType;

/// One System API function.
#[derive(Debug)]
pub struct Import {
    /// Name, without the `ic0.` prefix.
    pub name: &'static str,
    /// Parameters: `i` i32, `l` i64, `p` an address (i64 with a 64-bit memory, else i32).
    params: &'static str,
    /// Results, likewise.
    results: &'static str,
    /// Instructions that each call costs, before anything that depends on its arguments.
    pub cost: u64,
}

impl Import {
    /// Types of the parameters.
    pub fn params(&self, memory64: bool) -> Vec<ValType> {
        types(self.params, memory64)
    }

    /// Types of the results.
    pub fn results(&self, memory64: bool) -> Vec<ValType> {
        types(self.results, memory64)
    }
}

fn types(letters: &str, memory64: bool) -> Vec<ValType> {
    letters
        .bytes()
        .map(|letter| match letter {
            b'l' => ValType::I64,
            b'p' if memory64 => ValType::I64,
            _ => ValType::I32,
        })
        .collect()
}

/// The System API function of that name.
pub fn find(name: &str) -> Option<&'static Import> {
    IMPORTS
        .binary_search_by(|import| import.name.cmp(name))
        .ok()
        .map(|i| &IMPORTS[i])
}

const fn import(
    name: &'static str,
    params: &'static str,
    results: &'static str,
    cost: u64,
) -> Import {
    Import {
        name,
        params,
        results,
        cost,
    }
}

/// All System API functions, by name.
pub const IMPORTS: &[Import] = &[
    import("accept_message", "", "", 500),
    import("call_cycles_add", "l", "", 500),
    import("call_cycles_add128", "ll", "", 500),
    import("call_data_append", "pp", "", 500),
    import("call_new", "pppppppp", "", 1500),
    import("call_on_cleanup", "pp", "", 500),
    import("call_perform", "", "i", 5000),
    import("call_with_best_effort_response", "i", "", 500),
    import("canister_cycle_balance", "", "l", 500),
    import("canister_cycle_balance128", "p", "", 500),
    import("canister_liquid_cycle_balance128", "p", "", 500),
    import("canister_self_copy", "ppp", "", 500),
    import("canister_self_size", "", "p", 500),
    import("canister_status", "", "i", 500),
    import("canister_version", "", "l", 500),
    import("certified_data_set", "pp", "", 500),
    import("cost_call", "llp", "", 500),
    import("cost_create_canister", "p", "", 500),
    import("cost_http_request", "llp", "", 500),
    import("cost_sign_with_ecdsa", "ppip", "i", 500),
    import("cost_sign_with_schnorr", "ppip", "i", 500),
    import("cost_vetkd_derive_key", "ppip", "i", 500),
    import("cycles_burn128", "llp", "", 500),
    import("data_certificate_copy", "ppp", "", 500),
    import("data_certificate_present", "", "i", 500),
    import("data_certificate_size", "", "p", 500),
    import("debug_print", "pp", "", 100),
    import("env_var_count", "", "p", 500),
    import("env_var_name_copy", "pppp", "", 500),
    import("env_var_name_exists", "pp", "i", 500),
    import("env_var_name_size", "p", "p", 500),
    import("env_var_value_copy", "ppppp", "", 500),
    import("env_var_value_size", "pp", "p", 500),
    import("global_timer_set", "l", "l", 500),
    import("in_replicated_execution", "", "i", 500),
    import("is_controller", "pp", "i", 1000),
    import("mint_cycles", "l", "l", 0),
    import("mint_cycles128", "llp", "", 0),
    import("msg_arg_data_copy", "ppp", "", 500),
    import("msg_arg_data_size", "", "p", 500),
    import("msg_caller_copy", "ppp", "", 500),
    import("msg_caller_info_data_copy", "ppp", "", 500),
    import("msg_caller_info_data_size", "", "p", 500),
    import("msg_caller_info_signer_copy", "ppp", "", 500),
    import("msg_caller_info_signer_size", "", "p", 500),
    import("msg_caller_size", "", "p", 500),
    import("msg_cycles_accept", "l", "l", 500),
    import("msg_cycles_accept128", "llp", "", 500),
    import("msg_cycles_available", "", "l", 500),
    import("msg_cycles_available128", "p", "", 500),
    import("msg_cycles_refunded", "", "l", 500),
    import("msg_cycles_refunded128", "p", "", 500),
    import("msg_deadline", "", "l", 500),
    import("msg_method_name_copy", "ppp", "", 500),
    import("msg_method_name_size", "", "p", 500),
    import("msg_reject", "pp", "", 500),
    import("msg_reject_code", "", "i", 500),
    import("msg_reject_msg_copy", "ppp", "", 500),
    import("msg_reject_msg_size", "", "p", 500),
    import("msg_reply", "", "", 500),
    import("msg_reply_data_append", "pp", "", 500),
    import("performance_counter", "i", "l", 200),
    import("root_key_copy", "ppp", "", 500),
    import("root_key_size", "", "p", 500),
    import("stable64_grow", "l", "l", 100),
    import("stable64_read", "lll", "", 20),
    import("stable64_size", "", "l", 0),
    import("stable64_write", "lll", "", 20),
    import("stable_grow", "i", "i", 100),
    import("stable_read", "iii", "", 20),
    import("stable_size", "", "i", 0),
    import("stable_write", "iii", "", 20),
    import("subnet_self_copy", "ppp", "", 500),
    import("subnet_self_node_count", "", "i", 500),
    import("subnet_self_size", "", "p", 500),
    import("time", "", "l", 500),
    import("trap", "pp", "", 500),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sorted() {
        assert!(IMPORTS.windows(2).all(|pair| pair[0].name < pair[1].name));
    }
}
