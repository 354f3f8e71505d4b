//! The wire: fields read forwards, and written from the last to the first so that lengths are known.

use super::{DEEPEST, Error, Result};

/// A value as it stands on the wire.
#[derive(Debug, Clone, Copy)]
pub(super) enum Wire<'a> {
    Varint(u64),
    Fixed64(u64),
    Fixed32(u32),
    Bytes(&'a [u8]),
}

impl Wire<'_> {
    pub(super) fn number(self) -> u8 {
        match self {
            Self::Varint(_) => 0,
            Self::Fixed64(_) => 1,
            Self::Bytes(_) => 2,
            Self::Fixed32(_) => 5,
        }
    }
}

/// The fields of a message: tag and value; groups are skipped.
pub(super) struct Fields<'a> {
    rest: &'a [u8],
    name: &'a str,
}

impl<'a> Fields<'a> {
    pub(super) fn new(message: &'a [u8], name: &'a str) -> Self {
        Self { rest: message, name }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.rest.is_empty()
    }

    pub(super) fn varint(&mut self) -> Result<u64> {
        let mut value = 0_u64;
        for shift in (0..64).step_by(7) {
            let (byte, rest) = self.rest.split_first().ok_or(Error::Eof)?;
            self.rest = rest;
            value |= u64::from(byte & 0x7f) << shift;
            if byte & 0x80 == 0 {
                return Ok(value);
            }
        }
        Err(Error::Overflow)
    }

    pub(super) fn chunk(&mut self, length: u64) -> Result<&'a [u8]> {
        let length = usize::try_from(length).ok().filter(|length| *length <= self.rest.len());
        let (taken, rest) = self.rest.split_at(length.ok_or(Error::Eof)?);
        self.rest = rest;
        Ok(taken)
    }

    fn key(&mut self) -> Result<(u32, u8)> {
        let key = self.varint()?;
        let tag = u32::try_from(key >> 3).ok().filter(|tag| *tag != 0 && *tag < 1 << 29);
        let tag = tag.ok_or_else(|| Error::Tag {
            message: self.name.rsplit('.').next().unwrap_or_default().to_owned(),
            tag: key >> 3,
            key,
        })?;
        Ok((tag, (key & 7) as u8))
    }

    fn one(&mut self) -> Result<Option<(u32, Wire<'a>)>> {
        let (tag, kind) = self.key()?;
        let value = match kind {
            0 => Wire::Varint(self.varint()?),
            1 => Wire::Fixed64(u64::from_le_bytes(self.chunk(8)?.try_into().unwrap_or_default())),
            2 => {
                let length = self.varint()?;
                Wire::Bytes(self.chunk(length)?)
            }
            3 => {
                self.skip_group()?;
                return Ok(None);
            }
            5 => Wire::Fixed32(u32::from_le_bytes(self.chunk(4)?.try_into().unwrap_or_default())),
            other => return Err(Error::WireType(other)),
        };
        Ok(Some((tag, value)))
    }

    fn skip_group(&mut self) -> Result<()> {
        let mut depth = 1;
        while depth > 0 {
            match self.key()?.1 {
                0 => drop(self.varint()?),
                1 => drop(self.chunk(8)?),
                2 => {
                    let length = self.varint()?;
                    self.chunk(length)?;
                }
                3 if depth >= DEEPEST => return Err(Error::Depth),
                3 => depth += 1,
                4 => depth -= 1,
                5 => drop(self.chunk(4)?),
                other => return Err(Error::WireType(other)),
            }
        }
        Ok(())
    }
}

impl<'a> Iterator for Fields<'a> {
    type Item = Result<(u32, Wire<'a>)>;

    fn next(&mut self) -> Option<Self::Item> {
        while !self.rest.is_empty() {
            match self.one() {
                Ok(Some(field)) => return Some(Ok(field)),
                Ok(None) => {}
                Err(error) => {
                    self.rest = &[];
                    return Some(Err(error));
                }
            }
        }
        None
    }
}

/// Bytes written from the end to the beginning.
#[derive(Debug)]
pub(super) struct Reverse {
    buffer: Vec<u8>,
    /// Where what is written begins.
    at: usize,
}

impl Reverse {
    pub(super) fn with_capacity(capacity: usize) -> Self {
        let capacity = capacity.max(64);
        Self { buffer: vec![0; capacity], at: capacity }
    }

    /// How much is written.
    pub(super) fn len(&self) -> usize {
        self.buffer.len() - self.at
    }

    fn reserve(&mut self, more: usize) {
        if more <= self.at {
            return;
        }
        let written = self.len();
        let capacity = (self.buffer.len() * 2).max(written + more);
        let mut buffer = vec![0; capacity];
        let at = capacity - written;
        buffer[at..].copy_from_slice(&self.buffer[self.at..]);
        (self.buffer, self.at) = (buffer, at);
    }

    pub(super) fn put(&mut self, bytes: &[u8]) {
        self.reserve(bytes.len());
        let start = self.at - bytes.len();
        self.buffer[start..self.at].copy_from_slice(bytes);
        self.at = start;
    }

    pub(super) fn varint(&mut self, mut value: u64) {
        let mut bytes = [0_u8; 10];
        let mut length = 0;
        loop {
            let byte = (value & 0x7f) as u8;
            value >>= 7;
            bytes[length] = if value == 0 { byte } else { byte | 0x80 };
            length += 1;
            if value == 0 {
                break;
            }
        }
        self.put(&bytes[..length]);
    }

    /// A field's key before what was just written.
    pub(super) fn key(&mut self, tag: u32, wire: u8) {
        self.varint(u64::from(tag) << 3 | u64::from(wire));
    }

    /// Makes what was written since `mark` the value of a field with a length.
    pub(super) fn close(&mut self, tag: u32, mark: usize) {
        self.varint((self.len() - mark) as u64);
        self.key(tag, 2);
    }

    /// A field of bytes.
    pub(super) fn bytes(&mut self, tag: u32, bytes: &[u8]) {
        let mark = self.len();
        self.put(bytes);
        self.close(tag, mark);
    }

    pub(super) fn number(&mut self, tag: u32, value: u64) {
        self.varint(value);
        self.key(tag, 0);
    }

    pub(super) fn into_vec(self) -> Vec<u8> {
        self.buffer[self.at..].to_vec()
    }
}
