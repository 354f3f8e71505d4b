//! Frames to bytes and back.

use super::{
    dictionary::dictionary,
    frame::{Frame, Headers, ResetStatus},
};
use crate::{Error, Result};
use bytes::{Buf, BufMut, Bytes, BytesMut};
use flate2::{Compress, Compression, Decompress, FlushCompress, FlushDecompress};
use std::fmt;

const VERSION: u16 = 3;
const CONTROL: u32 = 0x8000_0000;
const FLAG_FIN: u8 = 1;
const FLAG_UNIDIRECTIONAL: u8 = 2;
const MAX_CONTROL_PAYLOAD: usize = 256 << 10;
const MAX_HEADER_BLOCK: usize = 1 << 20;

const SYN_STREAM: u16 = 1;
const SYN_REPLY: u16 = 2;
const RST_STREAM: u16 = 3;
const SETTINGS: u16 = 4;
const PING: u16 = 6;
const GOAWAY: u16 = 7;
const HEADERS: u16 = 8;
const WINDOW_UPDATE: u16 = 9;

/// Turns frames into bytes; one for each direction of a connection, for headers are compressed with
/// what went before.
pub struct Encoder {
    compress: Compress,
    primed: bool,
}

impl Encoder {
    /// An encoder that has sent nothing yet.
    #[must_use]
    pub fn new() -> Self {
        Self { compress: Compress::new(Compression::best(), true), primed: false }
    }

    /// Appends `frame` to `out`.
    ///
    /// # Errors
    /// `Protocol` when the headers or data are longer than a frame can be.
    pub fn encode(&mut self, frame: &Frame, out: &mut BytesMut) -> Result<()> {
        match frame {
            Frame::SynStream { id, associated, priority, headers, fin, unidirectional } => {
                let block = self.block(headers)?;
                let flags = flag(*fin, FLAG_FIN) | flag(*unidirectional, FLAG_UNIDIRECTIONAL);
                control(out, SYN_STREAM, flags, block.len() + 10)?;
                out.put_u32(*id);
                out.put_u32(*associated);
                out.put_u8(priority << 5);
                out.put_u8(0);
                out.put_slice(&block);
            }
            Frame::SynReply { id, headers, fin } => {
                self.with_headers(out, SYN_REPLY, *id, headers, *fin)?;
            }
            Frame::Headers { id, headers, fin } => {
                self.with_headers(out, HEADERS, *id, headers, *fin)?;
            }
            Frame::Reset { id, status } => pair(out, RST_STREAM, *id, status.0)?,
            Frame::GoAway { last_good, status } => pair(out, GOAWAY, *last_good, *status)?,
            Frame::WindowUpdate { id, delta } => pair(out, WINDOW_UPDATE, *id, *delta)?,
            Frame::Ping(id) => {
                control(out, PING, 0, 4)?;
                out.put_u32(*id);
            }
            Frame::Settings(entries) => {
                control(out, SETTINGS, 0, 4 + entries.len() * 8)?;
                out.put_u32(length(entries.len())?);
                for (id, value) in entries {
                    out.put_u32(*id);
                    out.put_u32(*value);
                }
            }
            Frame::Data { id, bytes, fin } => {
                out.put_u32(id & !CONTROL);
                out.put_u32(length(bytes.len())? | u32::from(flag(*fin, FLAG_FIN)) << 24);
                out.put_slice(bytes);
            }
        }
        Ok(())
    }

    fn with_headers(
        &mut self,
        out: &mut BytesMut,
        kind: u16,
        id: u32,
        headers: &Headers,
        fin: bool,
    ) -> Result<()> {
        let block = self.block(headers)?;
        control(out, kind, flag(fin, FLAG_FIN), block.len() + 4)?;
        out.put_u32(id);
        out.put_slice(&block);
        Ok(())
    }

    fn block(&mut self, headers: &Headers) -> Result<Vec<u8>> {
        if !self.primed {
            self.compress
                .set_dictionary(&dictionary())
                .map_err(|error| Error::protocol(error.to_string()))?;
            self.primed = true;
        }
        let mut block = Vec::with_capacity(256);
        self.squeeze(&plain(headers)?, &mut block)?;
        Ok(block)
    }

    fn squeeze(&mut self, plain: &[u8], block: &mut Vec<u8>) -> Result<()> {
        let start = self.compress.total_in();
        loop {
            let done = usize::try_from(self.compress.total_in() - start).unwrap_or(plain.len());
            self.compress
                .compress_vec(&plain[done..], block, FlushCompress::Sync)
                .map_err(|error| Error::protocol(error.to_string()))?;
            // Room that is left over says that the flush is complete.
            if block.len() < block.capacity() {
                return Ok(());
            }
            block.reserve(256);
        }
    }
}

impl Default for Encoder {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for Encoder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Encoder").finish_non_exhaustive()
    }
}

/// Turns bytes into frames; one for each direction of a connection.
pub struct Decoder {
    decompress: Decompress,
    partial: Option<Partial>,
}

/// A data frame of which a part is still to come.
struct Partial {
    id: u32,
    fin: bool,
    left: usize,
}

impl Decoder {
    /// A decoder that has seen nothing yet.
    #[must_use]
    pub fn new() -> Self {
        Self { decompress: Decompress::new(true), partial: None }
    }

    /// Takes the next frame from the front of `input`; `None` when more bytes are needed.
    ///
    /// # Errors
    /// `Protocol` when what stands there is no frame; the connection cannot go on then.
    pub fn decode(&mut self, input: &mut BytesMut) -> Result<Option<Frame>> {
        loop {
            if let Some(partial) = self.partial.take() {
                return Ok(self.part(partial, input));
            }
            let Some((first, second)) = words(input) else {
                return Ok(None);
            };
            let flags = (second >> 24) as u8;
            let size = (second & 0x00ff_ffff) as usize;
            if first & CONTROL == 0 {
                if first == 0 {
                    return Err(Error::protocol("data of stream zero"));
                }
                input.advance(8);
                self.partial = Some(Partial { id: first, fin: flags & FLAG_FIN != 0, left: size });
                continue;
            }
            if size > MAX_CONTROL_PAYLOAD {
                return Err(Error::protocol(format!("control frame of {size} bytes")));
            }
            if input.len() < 8 + size {
                input.reserve(8 + size - input.len());
                return Ok(None);
            }
            input.advance(8);
            let payload = input.split_to(size).freeze();
            if (first >> 16) & 0x7fff != u32::from(VERSION) {
                return Err(Error::protocol("a version of SPDY other than 3"));
            }
            if let Some(frame) = self.control((first & 0xffff) as u16, flags, payload)? {
                return Ok(Some(frame));
            }
        }
    }

    fn part(&mut self, partial: Partial, input: &mut BytesMut) -> Option<Frame> {
        if input.is_empty() && partial.left > 0 {
            self.partial = Some(partial);
            return None;
        }
        let bytes = input.split_to(partial.left.min(input.len())).freeze();
        let left = partial.left - bytes.len();
        let id = partial.id;
        let fin = partial.fin && left == 0;
        if left > 0 {
            self.partial = Some(Partial { left, ..partial });
        }
        Some(Frame::Data { id, bytes, fin })
    }

    fn control(&mut self, kind: u16, flags: u8, mut payload: Bytes) -> Result<Option<Frame>> {
        let fin = flags & FLAG_FIN != 0;
        let frame = match kind {
            SYN_STREAM => self.syn_stream(flags, payload)?,
            SYN_REPLY => {
                let id = stream(&mut payload)?;
                Frame::SynReply { id, headers: self.headers(&payload)?, fin }
            }
            HEADERS => {
                let id = stream(&mut payload)?;
                Frame::Headers { id, headers: self.headers(&payload)?, fin }
            }
            RST_STREAM => {
                let id = stream(&mut payload)?;
                Frame::Reset { id, status: ResetStatus(number(&mut payload)?) }
            }
            SETTINGS => Frame::Settings(settings(&mut payload)?),
            PING => Frame::Ping(number(&mut payload)?),
            GOAWAY => {
                let last_good = number(&mut payload)? & !CONTROL;
                Frame::GoAway { last_good, status: number(&mut payload)? }
            }
            WINDOW_UPDATE => {
                let id = number(&mut payload)? & !CONTROL;
                Frame::WindowUpdate { id, delta: number(&mut payload)? & !CONTROL }
            }
            _ => return Ok(None),
        };
        Ok(Some(frame))
    }

    fn syn_stream(&mut self, flags: u8, mut payload: Bytes) -> Result<Frame> {
        let (id, associated) = (stream(&mut payload)?, number(&mut payload)?);
        if payload.remaining() < 2 {
            return Err(short());
        }
        let priority = payload.get_u8() >> 5;
        payload.advance(1);
        let headers = self.headers(&payload)?;
        let fin = flags & FLAG_FIN != 0;
        let unidirectional = flags & FLAG_UNIDIRECTIONAL != 0;
        Ok(Frame::SynStream { id, associated, priority, headers, fin, unidirectional })
    }

    fn headers(&mut self, block: &[u8]) -> Result<Headers> {
        let mut plain = Vec::with_capacity(512);
        let mut rest = block;
        let mut chunk = [0; 4096];
        loop {
            let (taken, made) = (self.decompress.total_in(), self.decompress.total_out());
            let outcome = self.decompress.decompress(rest, &mut chunk, FlushDecompress::Sync);
            let taken = (self.decompress.total_in() - taken) as usize;
            let made = (self.decompress.total_out() - made) as usize;
            rest = &rest[taken..];
            plain.extend_from_slice(&chunk[..made]);
            if plain.len() > MAX_HEADER_BLOCK {
                return Err(Error::protocol("headers are too long"));
            }
            match outcome {
                Ok(_) if rest.is_empty() && made < chunk.len() => return parse(&plain),
                Ok(_) if taken == 0 && made == 0 => {
                    return Err(Error::protocol("headers are not well compressed"));
                }
                Ok(_) => {}
                Err(error) if error.needs_dictionary().is_some() => {
                    self.decompress
                        .set_dictionary(&dictionary())
                        .map_err(|error| Error::protocol(error.to_string()))?;
                }
                Err(error) => return Err(Error::protocol(error.to_string())),
            }
        }
    }
}

impl Default for Decoder {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for Decoder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Decoder").finish_non_exhaustive()
    }
}

fn words(input: &BytesMut) -> Option<(u32, u32)> {
    let mut front = input.get(..8)?;
    Some((front.get_u32(), front.get_u32()))
}

fn short() -> Error {
    Error::protocol("a frame is too short")
}

fn number(payload: &mut impl Buf) -> Result<u32> {
    payload.try_get_u32().map_err(|_| short())
}

fn stream(payload: &mut impl Buf) -> Result<u32> {
    match number(payload)? & !CONTROL {
        0 => Err(Error::protocol("a frame of stream zero")),
        id => Ok(id),
    }
}

fn settings(payload: &mut Bytes) -> Result<Vec<(u32, u32)>> {
    let count = number(payload)? as usize;
    if payload.remaining() / 8 < count {
        return Err(short());
    }
    (0..count).map(|_| Ok((number(payload)?, number(payload)?))).collect()
}

fn parse(mut plain: &[u8]) -> Result<Headers> {
    let mut headers = Headers::new();
    for _ in 0..number(&mut plain)? {
        let name = text(&mut plain)?;
        for value in text(&mut plain)?.split('\0') {
            headers = headers.with(&name, value);
        }
    }
    Ok(headers)
}

fn text(plain: &mut &[u8]) -> Result<String> {
    let size = number(plain)? as usize;
    let bytes = plain.get(..size).ok_or_else(short)?;
    let text = String::from_utf8_lossy(bytes).into_owned();
    plain.advance(size);
    Ok(text)
}

fn plain(headers: &Headers) -> Result<Vec<u8>> {
    let mut joined: Vec<(&str, String)> = Vec::new();
    for (name, value) in headers.iter() {
        match joined.iter_mut().find(|(key, _)| *key == name) {
            Some((_, values)) => {
                values.push('\0');
                values.push_str(value);
            }
            None => joined.push((name, value.to_owned())),
        }
    }
    let mut plain = Vec::new();
    plain.put_u32(length(joined.len())?);
    for (name, value) in joined {
        plain.put_u32(length(name.len())?);
        plain.put_slice(name.as_bytes());
        plain.put_u32(length(value.len())?);
        plain.put_slice(value.as_bytes());
    }
    Ok(plain)
}

fn flag(set: bool, flag: u8) -> u8 {
    if set { flag } else { 0 }
}

fn length(size: usize) -> Result<u32> {
    match u32::try_from(size) {
        Ok(size) if size <= 0x00ff_ffff => Ok(size),
        _ => Err(Error::protocol("longer than a frame can be")),
    }
}

fn control(out: &mut BytesMut, kind: u16, flags: u8, size: usize) -> Result<()> {
    let size = length(size)?;
    out.put_u16(0x8000 | VERSION);
    out.put_u16(kind);
    out.put_u32(size | u32::from(flags) << 24);
    Ok(())
}

fn pair(out: &mut BytesMut, kind: u16, first: u32, second: u32) -> Result<()> {
    control(out, kind, 0, 8)?;
    out.put_u32(first);
    out.put_u32(second);
    Ok(())
}

#[cfg(test)]
mod tests;
