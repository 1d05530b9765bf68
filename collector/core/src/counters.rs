//! What a worker counts: one field per kind, one line per field.

macro_rules! counters {
    ($($(#[$doc:meta])+ $name:ident,)+) => {
        /// Counts since the start. Adding two gives the counts of both workers together.
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
        pub struct Counters {
            $($(#[$doc])+ pub $name: u64,)+
        }

        impl Counters {
            /// Name and value of every counter, in the order printed.
            pub fn each(&self, mut f: impl FnMut(&'static str, u64)) {
                $(f(stringify!($name), self.$name);)+
            }

            /// Adds another worker's counts.
            pub fn add(&mut self, other: &Self) {
                $(self.$name += other.$name;)+
            }
        }
    };
}

counters! {
    /// Records observed.
    records,
    /// Connections first seen at their SYN.
    connections,
    /// Connections first seen later than at their SYN.
    mid_stream,
    /// SYNs seen again before the connection was established.
    syn_repeated,
    /// SYNs that came after what they belong to: reordered or copied.
    late_syns,
    /// RSTs on tuples of which nothing was known.
    stray_resets,
    /// SYNs on a tuple that the destination still held: contests opened.
    contests,
    /// Contests in which the SYN was accepted at once.
    reuse_accepted,
    /// Contests that were refused or unanswered first and connected later.
    reuse_recovered,
    /// Contests that were refused or unanswered and never connected.
    reuse_failed,
    /// Contests whose lone SYN nobody answered or repeated.
    reuse_abandoned,
    /// Contests on tuples past the model's deadline that were accepted.
    reuse_expired,
    /// SYNs whose own sender held the earlier connection in TIME-WAIT (`tcp_tw_reuse`, bind).
    self_reuse,
    /// Contests whose answer was another than the host model's verdict.
    model_contradicted,
    /// SYNs that could not be followed as a contest because all places were taken.
    contests_full,
    /// Tuples not taken in: the table or their class's share was full.
    table_refused,
    /// Tuples given up early for newer ones: closed, past the model's deadline.
    evicted_closed,
    /// Tuples given up early for newer ones: handshakes never completed.
    evicted_embryonic,
    /// Tuples given up early for newer ones: reset or past their time.
    evicted_dead,
}
