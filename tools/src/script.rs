//! Packet scripts: a test as a trace. Endpoints, segments at virtual times, and the findings that
//! they must give, in order and none besides.
//!
//! ```text
//! a = 10.0.0.1:40000
//! b = 10.0.0.2:80
//! +0     a > b  S   1000:1000(0)           <ts 100 0, ws 7>
//! +.001  b > a  S.  5000:5000(0) ack 1001  <ts 900 100, ws 7>
//! @9.5   a > b  S   900:900(0)             <ts 50 0>  vlan 7 ttl 63
//!        ! firing tuple_reuse cause=paws ts_delta=-50
//! @60    end
//! ```
//! `+` is after the line before, `@` since the beginning, in seconds. Flags are S F R P and `.` for
//! ACK. `<cut>` is a segment whose options the capture cut off. Behind the options: `win`, `ttl`, `id`, `vlan`, `vni`. `*` copies the last segment.

use std::collections::HashMap;
use std::fmt;
use std::net::SocketAddr;

use xdpwatch_prog::record::{Record, flags, marks};

/// The time that scripts begin at: any date will do.
pub const BEGIN_NS: u64 = 1_700_000_000_000_000_000;

/// One line of a script that does something.
#[derive(Clone, Debug, PartialEq)]
pub struct Line {
    /// Its number in the file, from 1.
    pub number: usize,
    /// What it does.
    pub kind: Kind,
}

/// What a line does.
#[derive(Clone, Debug, PartialEq)]
pub enum Kind {
    /// A segment is seen.
    Segment(Box<Record>),
    /// A finding is expected of the lines before.
    Expect(Expect),
    /// The input ends at this time, nanoseconds.
    End(u64),
}

/// A finding that must come.
#[derive(Clone, Debug, PartialEq)]
pub struct Expect {
    /// `firing` or `resolved`.
    pub state: String,
    /// The rule's name.
    pub rule: String,
    /// Facts by label, as words; those not named may be anything.
    pub facts: Vec<(String, String)>,
}

/// What is wrong with a script, and where.
#[derive(Debug)]
pub struct ScriptError {
    line: usize,
    what: String,
}

impl fmt::Display for ScriptError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "line {}: {}", self.line, self.what)
    }
}

impl std::error::Error for ScriptError {}

/// Reads a script.
///
/// # Errors
/// The first line that is not of the notation.
pub fn parse(text: &str) -> Result<Vec<Line>, ScriptError> {
    let mut reader = Reader { now_ns: BEGIN_NS, ..Reader::default() };
    let mut lines = Vec::new();
    for (n, line) in text.lines().enumerate() {
        let line = line.split("//").next().unwrap_or_default().trim();
        if line.is_empty() {
            continue;
        }
        let kind = reader.line(line).map_err(|what| ScriptError { line: n + 1, what })?;
        lines.extend(kind.map(|kind| Line { number: n + 1, kind }));
    }
    Ok(lines)
}

#[derive(Default)]
struct Reader {
    ends: HashMap<String, SocketAddr>,
    now_ns: u64,
    last: Option<Record>,
}

impl Reader {
    fn line(&mut self, line: &str) -> Result<Option<Kind>, String> {
        if let Some(expect) = line.strip_prefix('!') {
            return expectation(expect).map(Some);
        }
        if let Some((name, address)) = line.split_once('=')
            && !line.starts_with(['+', '@'])
        {
            let address = address.trim().parse().map_err(|e| format!("{address}: {e}"))?;
            self.ends.insert(name.trim().to_owned(), address);
            return Ok(None);
        }
        let (time, rest) = line.split_once(char::is_whitespace).ok_or("a time, then what")?;
        let seconds: f64 = time[1..].parse().map_err(|_| format!("time {time}?"))?;
        let ns = (seconds * 1e6).round() as u64 * 1000;
        self.now_ns = match time.as_bytes()[0] {
            b'+' => self.now_ns + ns,
            b'@' => BEGIN_NS + ns,
            _ => return Err(format!("time {time} begins with neither + nor @")),
        };
        match rest.trim() {
            "end" => Ok(Some(Kind::End(self.now_ns))),
            rest => self.segment(rest).map(|record| Some(Kind::Segment(Box::new(record)))),
        }
    }

    fn segment(&mut self, text: &str) -> Result<Record, String> {
        let mut record = Record { ttl: 64, window: 502, ..Record::default() };
        let (head, options) = match (text.split_once('<'), text.rsplit_once('>')) {
            (Some((head, _)), Some((options, tail))) if head.len() < options.len() => {
                (format!("{head} {tail}"), &options[head.len() + 1..])
            }
            _ => (text.to_owned(), ""),
        };
        let words: Vec<&str> = head.split_whitespace().collect();
        let rest = if words.first() == Some(&"*") {
            record = self.last.ok_or("nothing to copy yet")?;
            &words[1..]
        } else {
            let [from, ">", to, flags, seq, rest @ ..] = words.as_slice() else {
                return Err(format!("not FROM > TO FLAGS SEQ:END(LEN): {head}"));
            };
            (record.src_addr, record.src_port) = self.end(from, &mut record.marks)?;
            (record.dst_addr, record.dst_port) = self.end(to, &mut record.marks)?;
            record.flags = tcp_flags(flags)?;
            (record.seq, record.payload_len) = sequence(seq)?;
            rest
        };
        record.at_ns = self.now_ns;
        for option in options.split(',').filter(|option| !option.trim().is_empty()) {
            tcp_option(option, &mut record)?;
        }
        for pair in rest.chunks(2) {
            let [name, value] = pair else { return Err(format!("{pair:?} has no value")) };
            field(name, number(value)?, &mut record)?;
        }
        self.last = Some(record);
        Ok(record)
    }

    fn end(&self, name: &str, found: &mut u16) -> Result<([u8; 16], u16), String> {
        let address = self.ends.get(name).ok_or_else(|| format!("no endpoint {name}"))?;
        let octets = match address.ip() {
            std::net::IpAddr::V4(v4) => v4.to_ipv6_mapped().octets(),
            std::net::IpAddr::V6(v6) => {
                *found |= marks::IPV6;
                v6.octets()
            }
        };
        Ok((octets, address.port()))
    }
}

fn expectation(text: &str) -> Result<Kind, String> {
    let mut words = text.split_whitespace().map(str::to_owned);
    let (Some(state), Some(rule)) = (words.next(), words.next()) else {
        return Err("! STATE RULE [LABEL=VALUE ...]".to_owned());
    };
    let facts = words
        .map(|word| match word.split_once('=') {
            Some((label, value)) => Ok((label.to_owned(), value.to_owned())),
            None => Err(format!("{word} is not LABEL=VALUE")),
        })
        .collect::<Result<_, _>>()?;
    Ok(Kind::Expect(Expect { state, rule, facts }))
}

fn tcp_flags(text: &str) -> Result<u8, String> {
    text.chars().try_fold(0, |all, flag| {
        Ok(all
            | match flag {
                'S' => flags::SYN,
                'F' => flags::FIN,
                'R' => flags::RST,
                'P' => flags::PSH,
                '.' => flags::ACK,
                _ => return Err(format!("flag {flag}?")),
            })
    })
}

fn sequence(text: &str) -> Result<(u32, u32), String> {
    let wrong = || format!("{text} is not SEQ:END(LEN)");
    let (seq, rest) = text.split_once(':').ok_or_else(wrong)?;
    let (end, len) = rest.trim_end_matches(')').split_once('(').ok_or_else(wrong)?;
    let (seq, end, len) = (number(seq)?, number(end)?, number(len)?);
    if seq.wrapping_add(len) != end {
        return Err(format!("{seq} + {len} is not {end}"));
    }
    Ok((seq, len))
}

fn tcp_option(text: &str, record: &mut Record) -> Result<(), String> {
    let words: Vec<&str> = text.split_whitespace().collect();
    match words.as_slice() {
        ["ts", val, ecr] => {
            (record.ts_val, record.ts_ecr) = (number(val)?, number(ecr)?);
            record.marks |= marks::TIMESTAMPS;
        }
        ["ws", shift] => {
            record.window_scale = u8::try_from(number(shift)?).map_err(|e| e.to_string())?;
            record.marks |= marks::WINDOW_SCALE;
        }
        ["cut"] => record.marks |= marks::OPTIONS_CUT,
        _ => return Err(format!("option {text}?")),
    }
    Ok(())
}

fn field(name: &str, value: u32, record: &mut Record) -> Result<(), String> {
    let short = || u16::try_from(value).map_err(|e| format!("{name} {value}: {e}"));
    match name {
        "ack" => record.ack = value,
        "win" => record.window = short()?,
        "id" => record.ip_id = short()?,
        "ttl" => record.ttl = value as u8,
        "vni" => record.vni = value,
        "vlan" => (record.vlans[0], record.vlan_count) = (short()?, 1),
        _ => return Err(format!("field {name}?")),
    }
    Ok(())
}

/// A number, or one with an offset: `1000`, `1000+65537`, `4294967295`.
fn number(text: &str) -> Result<u32, String> {
    text.split('+').try_fold(0u32, |sum, part| {
        let part: u32 = part.parse().map_err(|e| format!("number {text}: {e}"))?;
        Ok(sum.wrapping_add(part))
    })
}
