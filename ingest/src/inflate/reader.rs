//! Inflates a gzip stream of any length in constant memory, member after member, and says what is wrong with it where it is.

use std::io::{self, BufRead, Read};

use flate2::{Crc, Decompress, FlushDecompress, Status};
use sluice_schemas::RejectReason;

use super::{HEADER, InflateLimits, MAGIC, TRAILER};

const FLAG_HEADER_CRC: u8 = 2;
const FLAG_EXTRA: u8 = 4;
const FLAG_NAME: u8 = 8;
const FLAG_COMMENT: u8 = 16;
const FLAGS_RESERVED: u8 = 0xe0;

/// What is wrong with a stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum GzipFault {
    /// Ends within a member: perhaps it is still being written.
    #[error("gzip stream ends early")]
    Truncated,
    /// Bytes that mean nothing at their place.
    #[error("gzip stream is damaged")]
    Invalid,
    /// A member whose content is not what was compressed: no byte of it can be trusted.
    #[error("gzip member does not match its checksum")]
    Checksum,
    /// Inflates as no log does.
    #[error("gzip stream inflates without end")]
    Bomb,
}

impl GzipFault {
    /// Returns the fault an error of a [`GzipReader`] carries; `None` for one of the reader below it.
    pub(crate) fn of(error: &io::Error) -> Option<Self> {
        error.get_ref().and_then(|inner| inner.downcast_ref::<Self>()).copied()
    }

    /// Returns the reason under which the rest of the stream is refused.
    pub(crate) fn reason(self) -> RejectReason {
        match self {
            Self::Bomb => InflateLimits::default().reason(),
            Self::Truncated | Self::Invalid | Self::Checksum => RejectReason::CorruptGzip,
        }
    }
}

impl From<GzipFault> for io::Error {
    fn from(fault: GzipFault) -> Self {
        Self::new(io::ErrorKind::InvalidData, fault)
    }
}

/// A reader of the content of all members of a gzip stream.
///
/// Beyond the size cap of [`InflateLimits`] it watches the ratio: what has inflated to more than 200 times the bytes it took
/// is a bomb. After a fault every further read returns the same fault.
#[derive(Debug)]
pub(crate) struct GzipReader<R> {
    input: R,
    inflater: Decompress,
    crc: Crc,
    state: State,
    consumed: u64,
    produced: u64,
    verified: u64,
}

#[derive(Clone, Copy, Debug)]
enum State {
    Header,
    Body,
    Ended,
    Failed(GzipFault),
}

impl<R: BufRead> GzipReader<R> {
    /// Starts at the first byte of `input`.
    pub(crate) fn new(input: R) -> Self {
        let (inflater, crc) = (Decompress::new(false), Crc::new());
        Self { input, inflater, crc, state: State::Header, consumed: 0, produced: 0, verified: 0 }
    }

    /// Returns the compressed bytes taken so far.
    pub(crate) const fn consumed(&self) -> u64 {
        self.consumed
    }

    /// Returns the inflated bytes given so far.
    pub(crate) const fn produced(&self) -> u64 {
        self.produced
    }

    /// Returns the inflated bytes of the members whose checksum was right.
    pub(crate) const fn verified(&self) -> u64 {
        self.verified
    }

    fn fail(&mut self, fault: GzipFault) -> io::Error {
        self.state = State::Failed(fault);
        fault.into()
    }

    fn take<const N: usize>(&mut self) -> io::Result<[u8; N]> {
        let mut bytes = [0; N];
        match self.input.read_exact(&mut bytes) {
            Ok(()) => {
                self.consumed += N as u64;
                Ok(bytes)
            }
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Err(self.fail(GzipFault::Truncated)),
            Err(error) => Err(error),
        }
    }

    fn take_text(&mut self) -> io::Result<()> {
        while self.take::<1>()? != [0] {}
        Ok(())
    }

    /// Tells whether nothing but padding follows.
    fn at_end(&mut self) -> io::Result<bool> {
        loop {
            let input = self.input.fill_buf()?;
            if input.is_empty() {
                return Ok(true);
            }
            let zeros = input.iter().take_while(|&&byte| byte == 0).count();
            if zeros == 0 {
                return Ok(false);
            }
            self.input.consume(zeros);
            self.consumed += zeros as u64;
        }
    }

    fn read_header(&mut self) -> io::Result<()> {
        let header: [u8; HEADER] = self.take()?;
        let flags = header[3];
        if !header.starts_with(&MAGIC) || flags & FLAGS_RESERVED != 0 {
            return Err(self.fail(GzipFault::Invalid));
        }
        if flags & FLAG_EXTRA != 0 {
            let length: [u8; 2] = self.take()?;
            for _ in 0..u16::from_le_bytes(length) {
                let _: [u8; 1] = self.take()?;
            }
        }
        if flags & FLAG_NAME != 0 {
            self.take_text()?;
        }
        if flags & FLAG_COMMENT != 0 {
            self.take_text()?;
        }
        if flags & FLAG_HEADER_CRC != 0 {
            let _: [u8; 2] = self.take()?;
        }
        self.inflater.reset(false);
        self.crc.reset();
        self.state = State::Body;
        Ok(())
    }

    /// Inflates some of a member's body; 0 only at its end. A fault found behind the returned bytes waits for the next read.
    fn read_body(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        loop {
            let input = self.input.fill_buf()?;
            let at_end = input.is_empty();
            let (taken, given) = (self.inflater.total_in(), self.inflater.total_out());
            let status = self.inflater.decompress(input, buffer, FlushDecompress::None);
            let taken = self.inflater.total_in() - taken;
            let given = (self.inflater.total_out() - given) as usize;
            self.input.consume(taken as usize);
            self.consumed += taken;
            self.produced += given as u64;
            self.crc.update(&buffer[..given]);
            let checked = match status {
                Ok(Status::StreamEnd) => self.check_trailer(),
                Ok(_) if given == 0 && at_end => Err(self.fail(GzipFault::Truncated)),
                Ok(_) => self.check_ratio(),
                Err(_) => Err(self.fail(GzipFault::Invalid)),
            };
            if given == 0 {
                checked?;
            } else if let Err(error) = checked
                && GzipFault::of(&error).is_none()
            {
                return Err(error);
            }
            if given > 0 || matches!(self.state, State::Header) {
                return Ok(given);
            }
        }
    }

    fn check_trailer(&mut self) -> io::Result<()> {
        let trailer: [u8; TRAILER] = self.take()?;
        let (sum, length) = (self.crc.sum().to_le_bytes(), (self.inflater.total_out() as u32).to_le_bytes());
        if trailer[..4] != sum || trailer[4..] != length {
            return Err(self.fail(GzipFault::Checksum));
        }
        self.verified = self.produced;
        self.state = State::Header;
        Ok(())
    }

    fn check_ratio(&mut self) -> io::Result<()> {
        let limits = InflateLimits::default();
        let is_bomb = self.produced > limits.max_bytes as u64 && self.produced > self.consumed.saturating_mul(limits.max_ratio as u64);
        if is_bomb { Err(self.fail(GzipFault::Bomb)) } else { Ok(()) }
    }
}

impl<R: BufRead> Read for GzipReader<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if buffer.is_empty() {
            return Ok(0);
        }
        loop {
            match self.state {
                State::Failed(fault) => return Err(fault.into()),
                State::Ended => return Ok(0),
                State::Header => {
                    if self.consumed > 0 && self.at_end()? {
                        self.state = State::Ended;
                    } else {
                        self.read_header()?;
                    }
                }
                State::Body => match self.read_body(buffer)? {
                    0 => {}
                    given => return Ok(given),
                },
            }
        }
    }
}
