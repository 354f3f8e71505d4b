//! One group commit: magic, payload length, the revision before its changes, payload
//! checksum, header checksum, payload; numbers are little-endian.

use super::file::{u32_at, u64_at};

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
            if has_unwritten(file, at, at + HEADER + len) {
                Found::Torn
            } else {
                Found::Damaged("the checksum of a frame is wrong")
            }
        }
        Ok(None) => Found::Torn,
        Err(reason) if has_unwritten(file, at, at + HEADER) => {
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

/// Whether a part of `start..end` was never written: a whole sector of it, or all from somewhere in it to the
/// end of the file.
fn has_unwritten(file: &[u8], start: usize, end: usize) -> bool {
    let zeros = file.iter().rev().take_while(|byte| **byte == 0).count();
    if zeros >= TAIL && file.len() - zeros < end {
        return true;
    }
    let mut from = start;
    while from < end {
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
