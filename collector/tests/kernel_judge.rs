//! The kernel is the judge: every cell of the measured table is asked of a live kernel, the same
//! packets go through parser and detector, and verdict and answer must agree.

use xdpwatch_core::finding::{Fact, Finding, State};
use xdpwatch_core::watch::{Config, Kind, Watch};
use xdpwatch_prog::wire::{Link, parse_record};
use xdpwatch_tools::judge::grid::{Hold, questions};
use xdpwatch_tools::judge::{Answer, Cell, run, sys};

/// What the detector says of the cell's packets.
fn findings(cell: &Cell) -> Vec<Finding> {
    let mut watch = Watch::new(Config {
        max_tuples: 64,
        all_reuse: true,
        seeds: [1, 2, 3, 4],
        ..Config::default()
    });
    let mut out = Vec::new();
    let mut last_ns = 0;
    for (at_ns, packet) in &cell.packets {
        let record = parse_record(packet, packet.len() as u32, *at_ns, Link::RawIp)
            .expect("the judge keeps only segments");
        watch.observe(&[record], &mut out);
        last_ns = *at_ns;
    }
    watch.finish(last_ns, &mut out);
    out.into_iter()
        .filter_map(|output| match output.kind {
            Kind::Finding(finding) => Some(*finding),
            _ => None,
        })
        .collect()
}

/// What the kernel's first answer must have been for this verdict to be right.
fn is_right(verdict: Fact, answer: Answer) -> bool {
    matches!(
        (verdict, answer),
        (Fact::Word("accept"), Answer::SynAck(65537))
            | (Fact::Word("refuse_paws" | "refuse_sequence" | "refuse_in_use"), Answer::Ack)
            | (Fact::Word("reset_in_window"), Answer::Reset)
            | (Fact::Word("silent"), Answer::Silence)
    )
}

/// An open FIN-WAIT-2 socket looks like an orphaned one until it answers: the verdict is the
/// orphan's, and the event must then say that the model was contradicted.
fn is_known_ambiguity(cell: &Cell, first: &Finding) -> bool {
    cell.question.hold == Hold::FinWait2Open
        && first.fact("verdict") == Some(Fact::Word("reset_in_window"))
        && cell.answers[0] == Answer::Ack
        && first.fact("model_contradicted") == Some(Fact::Flag(true))
        && first.cause == "fin_wait2"
}

/// What is wrong with the detector's view of this cell.
fn mistake(cell: &Cell) -> Option<String> {
    let findings = findings(cell);
    let Some(first) = findings.first() else { return Some("no finding".to_owned()) };
    let verdict = first.fact("verdict").expect("every finding has a verdict");
    let right = is_right(verdict, cell.answers[0]);
    if !right && !is_known_ambiguity(cell, first) {
        return Some(format!("verdict {verdict:?}"));
    }
    let contradicted = first.fact("model_contradicted") == Some(Fact::Flag(true));
    if right && contradicted {
        return Some("right, yet said to be contradicted".to_owned());
    }
    let harmless = matches!(cell.answers[0], Answer::SynAck(_));
    let last = findings.last().expect("there is a first");
    let outcome = last.fact("outcome");
    if harmless {
        let once = findings.len() == 1 && first.severity == 3;
        return (!once).then(|| format!("{} findings, {outcome:?}", findings.len()));
    }
    // Refused, at last freed by the RST or by the RST answer, and then connected.
    let settled = findings.len() == 2 && last.state == State::Resolved;
    let recovered = outcome == Some(Fact::Word("recovered"));
    let acks = cell.answers.iter().filter(|answer| matches!(answer, Answer::Ack | Answer::Reset));
    let counted = last.fact("answers") == Some(Fact::Number(acks.count() as i64));
    let syns = last.fact("syn_count") == Some(Fact::Number(cell.answers.len() as i64));
    (!(settled && recovered && counted && syns)).then(|| {
        let (answers, syns) = (last.fact("answers"), last.fact("syn_count"));
        format!("{} findings, {outcome:?}, answers {answers:?}, SYNs {syns:?}", findings.len())
    })
}

#[test]
fn the_verdict_is_the_kernels_in_every_cell() {
    if !sys::is_root() {
        println!(
            "SKIPPED: the_verdict_is_the_kernels_in_every_cell: needs root (network namespace)"
        );
        return;
    }
    let cells = run(&questions()).expect("a namespace with a TUN device");
    let wrong: Vec<String> = cells
        .iter()
        .filter_map(|cell| {
            let mistake = mistake(cell)?;
            Some(format!("{:?}: kernel {:?}: {mistake}", cell.question, cell.answers))
        })
        .collect();
    println!("{} cells asked of the kernel, {} judged differently", cells.len(), wrong.len());
    assert!(wrong.is_empty(), "{}\n{} cells", wrong.join("\n"), wrong.len());
}
