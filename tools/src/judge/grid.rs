//! Which cells the judge asks about: holder states, sequence and timestamp differences.

/// How the kernel holds the earlier connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Hold {
    /// It closed first, both FINs are acknowledged.
    TimeWait,
    /// It closed first and its FIN is acknowledged; nobody has the socket open.
    FinWait2Orphan,
    /// The same, with the socket still open (shutdown for writing).
    FinWait2Open,
    /// It closed first; its FIN is not acknowledged.
    FinWait1,
    /// Nobody closed.
    Established,
    /// The peer closed first.
    CloseWait,
    /// The peer closed first, then it; its FIN is not acknowledged.
    LastAck,
    /// As TIME-WAIT, with a keepalive probe just before: the answer to that arms the limiter.
    Limited,
}

/// The TSval of the new SYN.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Clock {
    /// No timestamps option.
    Absent,
    /// TSval 0.
    Zero,
    /// So far from the last TSval of the earlier connection.
    Delta(i64),
}

/// One question to the kernel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Question {
    /// How the earlier connection is held.
    pub hold: Hold,
    /// Whether the earlier connection carried timestamps.
    pub had_timestamps: bool,
    /// New ISN minus what the holder expects next.
    pub isn_delta: i64,
    /// The new SYN's timestamp.
    pub clock: Clock,
}

/// Sequence differences of the measured table.
pub const ISN_DELTAS: [i64; 10] =
    [-(1 << 30), -1_000_000, -1, 0, 1, 1000, 1_000_000, 352_641_030, (1 << 31) - 1, 1 << 31];

/// Timestamps of the measured table.
pub const CLOCKS: [Clock; 8] = [
    Clock::Absent,
    Clock::Delta(-1_159_862),
    Clock::Delta(-1),
    Clock::Zero,
    Clock::Delta(0),
    Clock::Delta(1),
    Clock::Delta(1000),
    Clock::Delta(1 << 31),
];

/// Every question: the whole table for the two states that end by themselves, and samples of it for
/// those in which the answer never depends on the numbers.
#[must_use]
pub fn questions() -> Vec<Question> {
    let whole = [Hold::TimeWait, Hold::FinWait2Orphan];
    let samples = [
        Hold::FinWait2Open,
        Hold::FinWait1,
        Hold::Established,
        Hold::CloseWait,
        Hold::LastAck,
        Hold::Limited,
    ];
    let mut questions = Vec::new();
    let mut ask = |hold, had_timestamps, isn_delta, clock| {
        questions.push(Question { hold, had_timestamps, isn_delta, clock });
    };
    for had_timestamps in [true, false] {
        for isn_delta in ISN_DELTAS {
            for clock in CLOCKS {
                whole.into_iter().for_each(|hold| ask(hold, had_timestamps, isn_delta, clock));
            }
        }
        for isn_delta in [-1_000_000, 0, 1000, 352_641_030] {
            for clock in [Clock::Absent, Clock::Delta(-1), Clock::Delta(1000)] {
                samples.into_iter().for_each(|hold| ask(hold, had_timestamps, isn_delta, clock));
            }
        }
    }
    questions
}
