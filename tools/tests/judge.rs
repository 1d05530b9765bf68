//! The kernel's answers against the table measured before (RFC 6191 as Linux does it): should a
//! kernel differ, this fails before the detector is blamed.

use xdpwatch_tools::judge::grid::{Clock, Hold, Question, questions};
use xdpwatch_tools::judge::{Answer, Cell, run, sys};

/// A SYN/ACK out of TIME-WAIT begins here, counted from the old SND.NXT.
const RECYCLED: u32 = 65537;

fn is_refused(question: &Question) -> bool {
    let older = match question.clock {
        _ if !question.had_timestamps => false,
        Clock::Absent => false,
        Clock::Zero => true,
        Clock::Delta(delta) => delta < 0,
    };
    let newer = question.had_timestamps && matches!(question.clock, Clock::Delta(1..));
    older || (question.isn_delta <= 0 && !newer)
}

/// The answers that the table foretells.
fn expected(question: &Question, cell: &Cell) -> Vec<Answer> {
    let fresh = || match cell.answers.last() {
        Some(answer @ Answer::SynAck(ahead)) if *ahead != RECYCLED => *answer,
        _ => Answer::SynAck(0),
    };
    let refused = || vec![Answer::Ack, Answer::Silence, Answer::Ack, fresh()];
    let older =
        question.had_timestamps && matches!(question.clock, Clock::Zero | Clock::Delta(..0));
    match question.hold {
        Hold::TimeWait if is_refused(question) => refused(),
        Hold::TimeWait => vec![Answer::SynAck(RECYCLED)],
        Hold::FinWait2Orphan if (0..=1000).contains(&question.isn_delta) && !older => {
            vec![Answer::Reset, fresh()]
        }
        Hold::Limited if is_refused(question) => {
            vec![Answer::Silence, Answer::Silence, Answer::Ack, fresh()]
        }
        Hold::Limited => vec![Answer::SynAck(RECYCLED)],
        _ => refused(),
    }
}

#[test]
fn the_kernel_answers_as_measured() {
    if !sys::is_root() {
        println!("SKIPPED: the_kernel_answers_as_measured: needs root (network namespace)");
        return;
    }
    let cells = run(&questions()).expect("a namespace with a TUN device");
    let wrong: Vec<String> = cells
        .iter()
        .filter(|cell| cell.answers != expected(&cell.question, cell))
        .map(|cell| {
            let expected = expected(&cell.question, cell);
            format!("{:?}: {:?}, expected {expected:?}", cell.question, cell.answers)
        })
        .collect();
    println!("{} cells asked, {} not as measured", cells.len(), wrong.len());
    assert!(wrong.is_empty(), "{}\n{} cells", wrong.join("\n"), wrong.len());
}
