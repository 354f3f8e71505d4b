//! One group commit: magic, payload length, the revision before its changes, payload
//! checksum, header checksum, payload; numbers are little-endian.

use super::file::{u32_at, u64_at};

const MAGIC: u32 = u32::from_le_bytes(*b"kpf1");
/// The bytes before the payload.
pub(crate) const HEADER: usize = 24;
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

/// Begins a frame in `buffer`; the payload is appended behind.
pub(crate) fn begin(buffer: &mut Vec<u8>) {
    buffer.clear();
    buffer.resize(HEADER, 0);
}

/// Completes the frame that fills `buffer`.
pub(crate) fn seal(buffer: &mut [u8], after: u64) {
    let len = u32::try_from(buffer.len() - HEADER).unwrap_or(u32::MAX);
    let sum = crc32c::crc32c(&buffer[HEADER..]);
    buffer[..4].copy_from_slice(&MAGIC.to_le_bytes());
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
                let end = at + HEADER + len;
                return Found::Frame(Frame { after: u64_at(rest, 8), payload, end });
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
    // A later whole frame proves that this one was once durable, so no crash did this.
    if matches!(damage, Found::Torn) && later_frame(rest) {
        return Found::Damaged("a frame is damaged and whole ones follow it");
    }
    damage
}

/// The length of the payload; `None` when the file ends before the frame does.
fn header(rest: &[u8]) -> Result<Option<usize>, &'static str> {
    if rest.len() < HEADER {
        return Ok(None);
    }
    if u32_at(rest, 0) != MAGIC {
        return Err("no frame begins here");
    }
    if crc32c::crc32c(&rest[..20]) != u32_at(rest, 20) {
        return Err("the checksum of a frame's header is wrong");
    }
    let len = usize::try_from(u32_at(rest, 4)).unwrap_or(usize::MAX);
    Ok((len <= rest.len() - HEADER).then_some(len))
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

fn later_frame(rest: &[u8]) -> bool {
    let magic = MAGIC.to_le_bytes();
    let mut at = 1;
    while let Some(found) = rest[at..].windows(4).position(|window| window == magic) {
        at += found;
        if let Ok(Some(len)) = header(&rest[at..])
            && crc32c::crc32c(&rest[at + HEADER..at + HEADER + len]) == u32_at(&rest[at..], 16)
        {
            return true;
        }
        at += 1;
    }
    false
}
