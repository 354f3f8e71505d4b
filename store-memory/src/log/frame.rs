//! One group commit: magic, payload length, the revision before its changes, payload
//! checksum, header checksum, payload; numbers are little-endian.

use super::{
    file::{u32_at, u64_at},
    record::{Item, Items},
};

/// Written when everything before it was on the disk.
const MAGIC: u32 = u32::from_le_bytes(*b"kpf1");
/// Written when something before it was not yet.
const LOOSE: u32 = u32::from_le_bytes(*b"kpf~");
/// The bytes before the payload.
pub(crate) const HEADER: usize = 24;
/// The largest frame, in bytes.
pub(crate) const MAX: usize = 2 << 30;
/// What a disk writes whole, at least.
const SECTOR: usize = 512;
/// Fewer zeros at the end of a file are taken for data.
const TAIL: usize = 64;

/// A frame that was read.
#[derive(Debug)]
pub(crate) struct Frame<'a> {
    /// The revision before its first change.
    pub(crate) after: u64,
    pub(crate) payload: &'a [u8],
    /// Where the next frame begins.
    pub(crate) end: usize,
    /// Whether everything before it was on the disk when it was written.
    pub(crate) anchored: bool,
}

/// What stands at a place in a file.
#[derive(Debug)]
pub(crate) enum Found<'a> {
    Frame(Frame<'a>),
    End,
    /// What a crash leaves behind when it interrupts the last write.
    Torn,
    Damaged(&'static str),
}

/// What a frame's header says.
#[derive(Debug)]
pub(crate) struct Announced {
    /// The length of the payload.
    pub(crate) len: usize,
    pub(crate) after: u64,
    /// The checksum of the payload.
    pub(crate) sum: u32,
    /// Whether everything before the frame was on the disk when it was written.
    pub(crate) anchored: bool,
}

/// Reads a header; `None` when it is none.
pub(crate) fn announced(bytes: &[u8; HEADER]) -> Option<Announced> {
    check(bytes).ok()?;
    let len = usize::try_from(u32_at(bytes, 4)).ok()?;
    let anchored = u32_at(bytes, 0) == MAGIC;
    Some(Announced { len, after: u64_at(bytes, 8), sum: u32_at(bytes, 16), anchored })
}

/// Begins a frame in `buffer`; the payload is appended behind.
pub(crate) fn begin(buffer: &mut Vec<u8>) {
    buffer.clear();
    buffer.resize(HEADER, 0);
}

/// Completes the frame that fills `buffer`.
/// `flushed`: whether everything before it is on the disk.
pub(crate) fn seal(buffer: &mut [u8], after: u64, flushed: bool) {
    let magic = if flushed { MAGIC } else { LOOSE };
    let len = u32::try_from(buffer.len() - HEADER).unwrap_or(u32::MAX);
    let sum = crc32c::crc32c(&buffer[HEADER..]);
    buffer[..4].copy_from_slice(&magic.to_le_bytes());
    buffer[4..8].copy_from_slice(&len.to_le_bytes());
    buffer[8..16].copy_from_slice(&after.to_le_bytes());
    buffer[16..20].copy_from_slice(&sum.to_le_bytes());
    let sum = crc32c::crc32c(&buffer[..20]);
    buffer[20..24].copy_from_slice(&sum.to_le_bytes());
}

/// Reads what stands at `at` in `file`, the whole contents of a file.
pub(crate) fn read(file: &[u8], at: usize) -> Found<'_> {
    let rest = &file[at..];
    if rest.is_empty() {
        return Found::End;
    }
    let damage = match header(rest) {
        Ok(Some(len)) => {
            let payload = &rest[HEADER..HEADER + len];
            if crc32c::crc32c(payload) == u32_at(rest, 16) {
                let (end, anchored) = (at + HEADER + len, u32_at(rest, 0) == MAGIC);
                return Found::Frame(Frame { after: u64_at(rest, 8), payload, end, anchored });
            }
            let zeros = zeros_of(payload, u32_at(rest, 16));
            if has_unwritten(file, at, at + HEADER + len, zeros) {
                Found::Torn
            } else {
                Found::Damaged("the checksum of a frame is wrong")
            }
        }
        Ok(None) => Found::Torn,
        Err(reason) if has_unwritten(file, at, at + HEADER, 0) => {
            tracing::debug!(at, reason, "an unwritten part");
            Found::Torn
        }
        Err(reason) => Found::Damaged(reason),
    };
    // A later whole frame proves that this one was once durable, so no crash did this; but one that was
    // written without a flush between proves nothing.
    if matches!(damage, Found::Torn) && later_frame(rest, |magic| magic == MAGIC).is_some() {
        return Found::Damaged("a frame is damaged and whole ones follow it");
    }
    damage
}

/// The length of the payload; `None` when the file ends before the frame does.
fn header(rest: &[u8]) -> Result<Option<usize>, &'static str> {
    if rest.len() < HEADER {
        return Ok(None);
    }
    check(rest)?;
    let len = usize::try_from(u32_at(rest, 4)).unwrap_or(usize::MAX);
    Ok((len <= rest.len() - HEADER).then_some(len))
}

fn check(header: &[u8]) -> Result<(), &'static str> {
    if !matches!(u32_at(header, 0), MAGIC | LOOSE) {
        return Err("no frame begins here");
    }
    if crc32c::crc32c(&header[..20]) != u32_at(header, 20) {
        return Err("the checksum of a frame's header is wrong");
    }
    Ok(())
}

/// How many bytes at the end of a payload that has not the checksum `sum` can be zero though they were written: all of
/// a time of expiry where there is none, the two most significant of one that there is.
fn zeros_of(payload: &[u8], sum: u32) -> usize {
    match Items::new(payload).last().flatten() {
        Some(Item::Delete { .. }) => 0,
        Some(Item::Put { expires, .. }) if expires != 0 => {
            // Only where there was none, and this one is the damage, the checksum is that of zeros.
            let before = crc32c::crc32c(&payload[..payload.len() - 8]);
            if crc32c::crc32c_append(before, &[0; 8]) == sum { 8 } else { 2 }
        }
        // Where the records make no sense any more, the last one may be of any kind.
        _ => 8,
    }
}

/// Whether a part of `start..end` was never written: what lies in one sector of it, or all from somewhere in it to the
/// end of the file. So many bytes at its end as `zeros` says prove nothing by being zero.
fn has_unwritten(file: &[u8], start: usize, end: usize, zeros: usize) -> bool {
    let proof = end.saturating_sub(zeros);
    let blank = file.iter().rev().take_while(|byte| **byte == 0).count();
    if blank >= TAIL && file.len() - blank < proof {
        return true;
    }
    let mut from = start;
    while from < proof {
        let to = ((from / SECTOR + 1) * SECTOR).min(end);
        if file[from..to].iter().all(|byte| *byte == 0) {
            return true;
        }
        from = to;
    }
    false
}

/// Where the first whole frame behind the start of `rest` begins whose magic is `wanted`.
fn later_frame(rest: &[u8], wanted: impl Fn(u32) -> bool) -> Option<usize> {
    let first = MAGIC.to_le_bytes()[0];
    let mut at = 1;
    while let Some(found) = rest.get(at..)?.iter().position(|byte| *byte == first) {
        at += found;
        if let Ok(Some(len)) = header(&rest[at..])
            && wanted(u32_at(rest, at))
            && crc32c::crc32c(&rest[at + HEADER..at + HEADER + len]) == u32_at(rest, at + 16)
        {
            return Some(at);
        }
        at += 1;
    }
    None
}

/// Where the first whole frame behind `at` begins.
pub(crate) fn next_whole(file: &[u8], at: usize) -> Option<usize> {
    later_frame(&file[at..], |_| true).map(|found| at + found)
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a failed test says where")]
mod tests {
    use super::{Found, HEADER, SECTOR, begin, read, seal};
    use crate::log::record;
    use kubeplane_store_trait::Key;

    /// Where the only frame of a test begins.
    const START: usize = 24;
    /// A time of expiry with no byte that is zero beside the two most significant.
    const DUE: u64 = 0x0392_3456_789a;

    /// A file with one frame of one put, which ends `inside` bytes into its last sector.
    fn file(inside: usize, expires: u64) -> Vec<u8> {
        let key = Key::new("/registry/pods/default/web").unwrap();
        let around = START + HEADER + record::put_len(&key, b"");
        let value = vec![b'v'; 2 * SECTOR + inside - around];
        let mut frame = Vec::new();
        begin(&mut frame);
        record::put(&mut frame, &key, &value, expires);
        seal(&mut frame, 7, true);
        let file = [vec![b'h'; START], frame].concat();
        assert_eq!(file.len(), 2 * SECTOR + inside);
        file
    }

    #[test]
    fn damage_of_the_last_frame_is_no_tear_wherever_its_last_sector_begins() {
        for inside in 1..=12 {
            for expires in [0, DUE] {
                let whole = file(inside, expires);
                assert!(matches!(read(&whole, START), Found::Frame(_)));
                // Every byte that is no part of the value, and some that are.
                let ends = (START..START + 80).chain(whole.len() - 20..whole.len());
                for at in ends.chain((START..whole.len()).step_by(29)) {
                    for bits in [1, 0x55, 0x80] {
                        let mut damaged = whole.clone();
                        damaged[at] ^= bits;
                        let found = read(&damaged, START);
                        let seen = matches!(found, Found::Damaged(_));
                        assert!(seen, "{inside} bytes inside, byte {at}: {found:?}");
                    }
                }
            }
        }
    }

    #[test]
    fn a_sector_that_was_not_written_is_a_tear() {
        for inside in [1, 2, 3, 4, 7, 8, 9, 64, 300] {
            for expires in [0, DUE] {
                let whole = file(inside, expires);
                for sector in [START..SECTOR, SECTOR..2 * SECTOR, 2 * SECTOR..whole.len()] {
                    let mut torn = whole.clone();
                    torn[sector.clone()].fill(0);
                    match read(&torn, START) {
                        Found::Torn => {}
                        // What was not written would have been zeros.
                        Found::Frame(_) if torn == whole => {}
                        // All of the time of expiry, and nothing else: there may have been none.
                        Found::Damaged(_) if (inside, sector.start) == (8, 2 * SECTOR) => {}
                        found => panic!("{inside} bytes inside, {sector:?}: {found:?}"),
                    }
                }
            }
        }
    }
}
