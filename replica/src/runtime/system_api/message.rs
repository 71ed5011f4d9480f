//! What a message was called with, and its answer.

use super::context::{Address, BYTE_SENT, Context, Host, Result, api};
use super::state::{Answer, Api, MAX_QUERY_REPLY, MAX_REPLY, Response, violation};
use crate::runtime::mode::{self, Mode};
use wasmtime::Linker;

impl Context<'_, '_> {
    fn reply_limit(&mut self) -> usize {
        match self.api().mode {
            Mode::Query | Mode::CompositeQuery => MAX_QUERY_REPLY,
            Mode::CompositeReplyCallback | Mode::CompositeRejectCallback => MAX_QUERY_REPLY,
            _ => MAX_REPLY,
        }
    }

    /// Refuses a second answer to the caller.
    fn check_unanswered(&mut self) -> Result<()> {
        let name = self.name;
        let api = self.api();
        if api.answerable && api.response == Response::None {
            Ok(())
        } else {
            let end = if name == "msg_reply_data_append" {
                "."
            } else {
                ""
            };
            Err(violation(format!(
                "ic0.{name}: the call is already replied{end}"
            )))
        }
    }

    fn check_reply_size(&mut self, size: usize) -> Result<()> {
        let limit = self.reply_limit();
        if size > limit {
            return Err(violation(format!(
                "ic0.{}: application payload size ({size}) cannot be larger than {limit}.",
                self.name
            )));
        }
        Ok(())
    }
}

pub(super) fn define<A: Address>(linker: &mut Linker<Host>) -> wasmtime::Result<()> {
    api!(linker, msg_arg_data_size() -> A, |c| {
        c.allow(mode::ARGUMENT)?;
        Ok(A::from_u64(argument(c.api()).len() as u64))
    });
    api!(linker, msg_arg_data_copy(dst: A, offset: A, size: A) -> (), |c| {
        c.charge(size.to_u64())?;
        c.allow(mode::ARGUMENT)?;
        c.copy_out(dst.to_u64(), offset.to_u64(), size.to_u64(), argument)
    });
    api!(linker, msg_caller_size() -> A, |c| {
        c.allow(mode::NOT_START)?;
        Ok(A::from_u64(c.api().caller.len() as u64))
    });
    api!(linker, msg_caller_copy(dst: A, offset: A, size: A) -> (), |c| {
        c.charge(size.to_u64())?;
        c.allow(mode::NOT_START)?;
        c.copy_out(dst.to_u64(), offset.to_u64(), size.to_u64(), |api| &api.caller)
    });
    // Requests with information about their sender are not taken: there never is any.
    api!(linker, msg_caller_info_data_size() -> A, |c| {
        c.allow(mode::CALLER_INFO)?;
        Ok(A::from_u64(0))
    });
    api!(linker, msg_caller_info_data_copy(dst: A, offset: A, size: A) -> (), |c| {
        c.charge(size.to_u64())?;
        c.allow(mode::CALLER_INFO)?;
        c.copy_bytes(dst.to_u64(), offset.to_u64(), size.to_u64(), &[])
    });
    api!(linker, msg_caller_info_signer_size() -> A, |c| {
        c.allow(mode::CALLER_INFO)?;
        Ok(A::from_u64(0))
    });
    api!(linker, msg_caller_info_signer_copy(dst: A, offset: A, size: A) -> (), |c| {
        c.charge(size.to_u64())?;
        c.allow(mode::CALLER_INFO)?;
        c.copy_bytes(dst.to_u64(), offset.to_u64(), size.to_u64(), &[])
    });
    api!(linker, msg_reject_code() -> i32, |c| {
        c.allow(mode::CALL_ANSWER)?;
        Ok(match &c.api().answer {
            Some(Answer::Reject(code, _)) => *code as i32,
            _ => 0,
        })
    });
    api!(linker, msg_reject_msg_size() -> A, |c| {
        c.allow(mode::REJECT_TEXT)?;
        Ok(A::from_u64(reject_text(c.api()).len() as u64))
    });
    api!(linker, msg_reject_msg_copy(dst: A, offset: A, size: A) -> (), |c| {
        c.charge(size.to_u64())?;
        c.allow(mode::REJECT_TEXT)?;
        c.copy_out(dst.to_u64(), offset.to_u64(), size.to_u64(), reject_text)
    });
    api!(linker, msg_deadline() -> i64, |c| {
        c.allow(mode::ANSWER)?;
        Ok(c.api().deadline as i64)
    });
    api!(linker, msg_reply_data_append(src: A, size: A) -> (), |c| {
        c.charge(BYTE_SENT.saturating_mul(size.to_u64()))?;
        c.allow(mode::ANSWER)?;
        c.check_unanswered()?;
        let total = c.api().reply.len().saturating_add(size.to_u64() as usize);
        c.check_reply_size(total)?;
        let bytes = c.heap(src.to_u64(), size.to_u64())?;
        c.api().reply.extend(bytes);
        Ok(())
    });
    api!(linker, msg_reply() -> (), |c| {
        c.allow(mode::ANSWER)?;
        c.check_unanswered()?;
        let reply = std::mem::take(&mut c.api().reply);
        c.api().response = Response::Reply(reply);
        Ok(())
    });
    api!(linker, msg_reject(src: A, size: A) -> (), |c| {
        c.charge(BYTE_SENT.saturating_mul(size.to_u64()))?;
        c.allow(mode::ANSWER)?;
        c.check_unanswered()?;
        c.check_reply_size(size.to_u64() as usize)?;
        let text = c.heap(src.to_u64(), size.to_u64())?;
        let text = String::from_utf8(text)
            .map_err(|_| violation("ic0.msg_reject: invalid UTF-8 string provided"))?;
        c.api().reply.clear();
        c.api().response = Response::Reject(text);
        Ok(())
    });
    api!(linker, msg_method_name_size() -> A, |c| {
        c.allow(mode::INSPECT)?;
        Ok(A::from_u64(c.api().method.len() as u64))
    });
    api!(linker, msg_method_name_copy(dst: A, offset: A, size: A) -> (), |c| {
        c.charge(size.to_u64())?;
        c.allow(mode::INSPECT)?;
        c.copy_out(dst.to_u64(), offset.to_u64(), size.to_u64(), |api| api.method.as_bytes())
    });
    api!(linker, accept_message() -> (), |c| {
        c.allow(mode::INSPECT)?;
        if c.api().accepted {
            return Err(violation("ic0.accept_message: the function was already called."));
        }
        c.api().accepted = true;
        Ok(())
    });
    Ok(())
}

fn argument(api: &Api) -> &[u8] {
    match (&api.answer, api.mode) {
        (Some(Answer::Reply(reply)), Mode::ReplyCallback | Mode::CompositeReplyCallback) => reply,
        _ => &api.arg,
    }
}

fn reject_text(api: &Api) -> &[u8] {
    match &api.answer {
        Some(Answer::Reject(_, text)) => text.as_bytes(),
        _ => &[],
    }
}
