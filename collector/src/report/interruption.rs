//! An interruption of the capture, for machines and for people.

use serde_json::{Value, json};

use super::values::time;
use super::{Context, say, text};
use crate::interruption::{Interruption, Reason};
use crate::lang::{Lang, Said, said};

/// The details under the key `capture`.
#[must_use]
pub fn object(interruption: &Interruption) -> Value {
    let mut object = json!({
        "iface": interruption.iface,
        "state": interruption.state(),
        "reason": interruption.reason.word(),
    });
    if let Some(gap_ns) = interruption.gap_ns {
        object["gap_ms"] = json!(gap_ns / 1_000_000);
    }
    object
}

/// The block for people.
#[must_use]
pub fn block(
    context: &Context,
    interruption: &Interruption,
    utc_offset_ns: i64,
    lang: Lang,
) -> String {
    let word = match interruption.gap_ns {
        None => said("INTERRUPTED", "中断"),
        Some(_) => said("RESUMED", "恢复"),
    };
    let (at, word) = (time(interruption.at_ns, utc_offset_ns), word.to(lang));
    let capture = said("capture", "抓包").to(lang);
    let mut block = format!("{at}  {word}  {capture}  [{}]\n", context.name());
    let reason = why(interruption.reason).to(lang);
    let what = say!(lang, totals::interruption(&interruption.iface, reason, interruption.gap_ns));
    text::line(&mut block, text::WHAT.to(lang), &what);
    block.push('\n');
    block
}

fn why(reason: Reason) -> Said {
    match reason {
        Reason::LinkDown => said("it was set down", "接口被关闭"),
        Reason::NoCarrier => said("its link has no carrier", "链路无载波"),
        Reason::Removed => said("it was removed", "接口被移除"),
        Reason::Detached => said("the XDP program was taken off it", "XDP 程序被卸下"),
        Reason::MtuChanged => said("its MTU changed", "MTU 改变"),
        Reason::QueuesChanged => said("its receive queues changed", "接收队列数改变"),
        Reason::QueueFailed => said("a receive queue failed", "接收队列失效"),
        Reason::Restart => said("xdpwatch was restarted", "xdpwatch 重启"),
    }
}
