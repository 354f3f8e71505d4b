//! What the machine tells of itself.

use super::Seen;
use std::{
    fs::File,
    io::{Seek, Write},
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

/// How often the disk is asked at once.
const CALLS: usize = 40;

/// Where files are written: a directory on the disk to be measured, `KUBEPLANE_BENCH_DIR` or `target`.
pub(crate) fn disk() -> PathBuf {
    let target = concat!(env!("CARGO_MANIFEST_DIR"), "/../target");
    std::env::var_os("KUBEPLANE_BENCH_DIR").map_or_else(|| target.into(), PathBuf::from)
}

/// What the disk itself takes to append some bytes to a file and make them durable. Asked between all that is measured,
/// because disks are fast and slow by turns.
pub(crate) struct Probe {
    file: File,
    bytes: Vec<u8>,
    times: Vec<Duration>,
    /// How many writes have room before it begins again at the start; without, all are appended.
    room: Option<usize>,
}

impl Probe {
    pub(crate) fn new(directory: &Path, size: usize) -> Self {
        let file = File::create(directory.join("probe")).unwrap();
        Self { file, bytes: vec![b'x'; size], times: Vec::new(), room: None }
    }

    /// The same in the place of what is there, in a file whose blocks all exist and never change.
    pub(crate) fn in_place(directory: &Path, size: usize) -> Self {
        let mut file = File::create(directory.join("probe-in-place")).unwrap();
        let room = (16 << 20) / size;
        file.write_all(&vec![0; room * size]).unwrap();
        file.sync_all().unwrap();
        Self { file, bytes: vec![b'x'; size], times: Vec::new(), room: Some(room) }
    }

    /// What some calls show, made now.
    pub(crate) fn round(&mut self) -> Seen {
        let (first, started) = (self.times.len(), Instant::now());
        self.ask();
        let times = self.times[first..].to_vec();
        Seen::new(times.len() as f64, times, started.elapsed(), 0.0)
    }

    /// What writes that come so often per second, evenly, wait for the disk alone, when each call makes all durable that
    /// came during the one before.
    pub(crate) fn groups(&mut self, rate: f64, round: Duration) -> Seen {
        let (started, gap) = (Instant::now(), Duration::from_secs_f64(1.0 / rate));
        let (mut times, mut bytes) = (Vec::new(), Vec::new());
        while started.elapsed() < round {
            let came = started.elapsed().div_duration_f64(gap) as usize;
            let Some(first) = (came > times.len()).then_some(times.len()) else {
                std::hint::spin_loop();
                continue;
            };
            bytes.resize((came - first) * self.bytes.len(), b'x');
            self.file.write_all(&bytes).unwrap();
            self.file.sync_data().unwrap();
            let done = started.elapsed();
            times.extend(
                (first..came).map(|number| done.saturating_sub(gap.mul_f64(number as f64))),
            );
        }
        Seen::new(times.len() as f64, times, started.elapsed(), 0.0)
    }

    /// The median of some calls, made now.
    pub(crate) fn ask(&mut self) -> Duration {
        let first = self.times.len();
        for _ in 0..CALLS {
            if self.room.is_some_and(|room| self.times.len().is_multiple_of(room)) {
                self.file.rewind().unwrap();
            }
            let started = Instant::now();
            self.file.write_all(&self.bytes).unwrap();
            self.file.sync_data().unwrap();
            self.times.push(started.elapsed());
        }
        let mut times = self.times[first..].to_vec();
        times.sort_unstable();
        times[times.len() / 2]
    }

    /// Of all calls so far, in microseconds: the median, and between what the middle eight of ten of them lie.
    pub(crate) fn told(&self) -> String {
        let mut times = self.times.clone();
        times.sort_unstable();
        let at = |tenths: usize| match times.get(times.len() * tenths / 10) {
            Some(time) => time.as_secs_f64() * 1e6,
            None => 0.0,
        };
        format!("{:.0} us ({:.0}-{:.0})", at(5), at(1), at(9))
    }
}

/// User and system time of this process so far.
pub(crate) fn cpu_seconds() -> f64 {
    cpu_seconds_of("self")
}

/// User and system time of a process so far.
pub(crate) fn cpu_seconds_of(process: &str) -> f64 {
    let stat = std::fs::read_to_string(format!("/proc/{process}/stat")).unwrap();
    let fields: Vec<_> = stat.rsplit(')').next().unwrap().split_whitespace().collect();
    // Ticks of a hundredth of a second, on every Linux.
    fields[11..13].iter().map(|ticks| ticks.parse::<f64>().unwrap() / 100.0).sum()
}

/// Resident memory of this process, in bytes.
pub(crate) fn resident() -> usize {
    let statm = std::fs::read_to_string("/proc/self/statm").unwrap();
    statm.split_whitespace().nth(1).unwrap().parse::<usize>().unwrap() * 4096
}
