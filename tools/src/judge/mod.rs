//! The kernel as judge: real sockets hold real connections in a namespace, a user-space peer sends
//! SYNs on their tuples, and every packet both ways is kept with the kernel's answers.
//!
//! The peer is made of raw IP packets over a TUN device, so that each sequence number and timestamp
//! is ours to choose. Nothing here knows what the right answers are.

pub mod grid;
mod peer;
pub mod sys;

use std::io;
use std::net::TcpListener;
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};

use grid::{Hold, Question};
use peer::{Kernel, Line};

/// What the kernel sent in answer to one SYN.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answer {
    /// Nothing.
    Silence,
    /// A bare ACK.
    Ack,
    /// SYN/ACK; its ISN minus the old connection's SND.NXT.
    SynAck(u32),
    /// RST.
    Reset,
}

/// One question and what the kernel said.
#[derive(Clone, Debug)]
pub struct Cell {
    /// The question.
    pub question: Question,
    /// Every packet of its tuple, both ways: time in nanoseconds, and the IP packet.
    pub packets: Vec<(u64, Vec<u8>)>,
    /// Answers to the SYNs in order: the first; one 100 ms later; one 800 ms after the first; and,
    /// after a RST with the number of the last ACK, one more.
    pub answers: Vec<Answer>,
}

/// Asks a live kernel all questions. Takes some seconds; all tuples are asked at the same time.
///
/// # Errors
/// What the namespace, the device or the sockets refused.
pub fn run(questions: &[Question]) -> anyhow::Result<Vec<Cell>> {
    std::thread::scope(|scope| {
        let judge = scope.spawn(|| in_namespace(questions));
        judge.join().unwrap_or_else(|_| anyhow::bail!("the judge's thread panicked"))
    })
}

fn in_namespace(questions: &[Question]) -> anyhow::Result<Vec<Cell>> {
    sys::enter_new_network().context("unshare(CLONE_NEWNET); it takes root")?;
    let tun = sys::open_tun("judge0").context("opening a TUN device")?;
    for arguments in ["addr add 10.99.0.1/24 dev judge0", "link set judge0 up", "link set lo up"] {
        let status = Command::new("ip").args(arguments.split(' ')).status();
        ensure!(status.context("running ip")?.success(), "ip {arguments} failed");
    }
    let listener = TcpListener::bind(("10.99.0.1", 8080)).context("listening")?;
    let mut kernel = Kernel::new(tun, listener)?;
    let mut lines = Vec::new();
    for (n, question) in questions.iter().enumerate() {
        let port = u16::try_from(10_000 + n).context("more questions than ports")?;
        lines.push(kernel.connect(port, question.had_timestamps)?);
    }
    for (line, question) in lines.iter_mut().zip(questions) {
        close(&mut kernel, line, question.hold)?;
    }
    kernel.pump(Duration::from_millis(100))?;
    for (line, question) in lines.iter_mut().zip(questions) {
        if question.hold == Hold::Limited {
            kernel.send_keepalive(line)?;
        }
    }
    kernel.pump(Duration::from_millis(100))?;
    let answers = ask(&mut kernel, &mut lines, questions)?;
    Ok(kernel.into_cells(&lines, questions, answers))
}

fn close(kernel: &mut Kernel, line: &mut Line, hold: Hold) -> io::Result<()> {
    match hold {
        Hold::Established => {}
        Hold::FinWait1 => line.drop_socket(),
        Hold::FinWait2Open => {
            line.shut_socket()?;
            kernel.acknowledge_fin(line)?;
        }
        Hold::FinWait2Orphan => {
            line.drop_socket();
            kernel.acknowledge_fin(line)?;
        }
        Hold::TimeWait | Hold::Limited => {
            line.drop_socket();
            kernel.acknowledge_fin(line)?;
            kernel.send_fin(line)?;
        }
        Hold::CloseWait => kernel.send_fin(line)?,
        Hold::LastAck => {
            kernel.send_fin(line)?;
            kernel.pump(Duration::from_millis(5))?;
            line.drop_socket();
        }
    }
    Ok(())
}

/// Sends the SYNs of all tuples, round by round, and notes what came back.
fn ask(
    kernel: &mut Kernel,
    lines: &mut [Line],
    questions: &[Question],
) -> io::Result<Vec<Vec<Answer>>> {
    let mut answers = vec![Vec::new(); lines.len()];
    let begin = Instant::now();
    for (round, at_ms) in [0, 100, 800].into_iter().enumerate() {
        kernel.pump_until(begin + Duration::from_millis(at_ms))?;
        for ((line, question), answers) in lines.iter_mut().zip(questions).zip(&answers) {
            let refused = answers.iter().all(|a| matches!(a, Answer::Silence | Answer::Ack));
            let after_reset = answers == &[Answer::Reset] && round == 2;
            if refused || after_reset {
                kernel.send_syn(line, question)?;
            }
        }
        kernel.pump(Duration::from_millis(90))?;
        for (line, answers) in lines.iter().zip(&mut answers) {
            if line.asked() == answers.len() + 1 {
                answers.push(kernel.answer_to(line));
            }
        }
    }
    for (line, answers) in lines.iter_mut().zip(&answers) {
        if answers.last() == Some(&Answer::Ack) {
            kernel.send_reset(line)?;
        }
    }
    kernel.pump(Duration::from_millis(50))?;
    for ((line, question), answers) in lines.iter_mut().zip(questions).zip(&answers) {
        if answers.last() == Some(&Answer::Ack) {
            kernel.send_syn(line, question)?;
        }
    }
    kernel.pump(Duration::from_millis(90))?;
    for (line, answers) in lines.iter().zip(&mut answers) {
        if line.asked() == answers.len() + 1 {
            answers.push(kernel.answer_to(line));
        }
    }
    Ok(answers)
}
