use super::{
    file::Header,
    frame::{self, Frame},
};
use std::{
    fs::File,
    io::{self, BufReader, Read},
    path::Path,
};

/// What is read at once of a file with small frames, in bytes.
const BUFFER: usize = 256 * 1024;

/// The frames of a file one after the other, without the whole file in memory.
#[derive(Debug)]
pub(crate) struct Frames {
    file: BufReader<File>,
    len: usize,
    at: usize,
    payload: Vec<u8>,
}

impl Frames {
    /// Opens a file; returns its first bytes too, which should be its header.
    pub(crate) fn open(path: &Path) -> io::Result<(Self, Vec<u8>)> {
        let file = File::open(path)?;
        let len = usize::try_from(file.metadata()?.len()).unwrap_or(usize::MAX);
        let mut file = BufReader::with_capacity(BUFFER, file);
        let mut header = Vec::with_capacity(Header::LEN);
        (&mut file).take(Header::LEN as u64).read_to_end(&mut header)?;
        Ok((Self { file, len, at: Header::LEN.min(len), payload: Vec::new() }, header))
    }

    /// The length of the file.
    pub(crate) fn len(&self) -> usize {
        self.len
    }

    /// Where the next frame begins.
    pub(crate) fn at(&self) -> usize {
        self.at
    }

    /// The next frame; `None` at the end, and where no whole frame stands. Then `at` stays, and nothing more
    /// can be read.
    pub(crate) fn read(&mut self) -> io::Result<Option<Frame<'_>>> {
        let left = self.len - self.at;
        if left < frame::HEADER {
            return Ok(None);
        }
        let mut header = [0; frame::HEADER];
        self.file.read_exact(&mut header)?;
        let Some(announced) = frame::announced(&header) else {
            return Ok(None);
        };
        if announced.len > left - frame::HEADER {
            return Ok(None);
        }
        self.payload.resize(announced.len, 0);
        self.file.read_exact(&mut self.payload)?;
        if crc32c::crc32c(&self.payload) != announced.sum {
            return Ok(None);
        }
        self.at += frame::HEADER + announced.len;
        let (after, anchored) = (announced.after, announced.anchored);
        Ok(Some(Frame { after, payload: &self.payload, end: self.at, anchored }))
    }
}
