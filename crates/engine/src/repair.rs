//! The one kind of damage that a crash of the machine can do: the last journal entry is torn.
//!
//! A group is written and then synced. When the machine dies in between, its blocks may have
//! reached the disk in any order: the entry's end may be there and its middle not. `fjall` takes
//! an entry without an end for torn and drops it, but refuses to open when the end is there and
//! the checksum is wrong. Nobody was told that this group is stored, so it may go: cutting off its
//! end makes it what it is, an unfinished entry.

use std::fs::{File, OpenOptions};
use std::io::{Read, Seek, SeekFrom};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use crate::journal::journals;

/// Bytes looked at at once.
const BLOCK: u64 = 64 * 1024;
/// The end marker that `fjall` puts behind an entry is longer than this.
const CUT: u64 = 4;

/// The end of a journal, cut off; it can be put back.
pub(crate) struct Cut {
    file: File,
    at: u64,
    bytes: Vec<u8>,
    length: u64,
}

/// Whether the files can't be opened because a journal entry is damaged.
pub(crate) fn is_torn(error: &fjall::Error) -> bool {
    matches!(error, fjall::Error::JournalRecovery(_))
}

/// Cuts off the end of the last entry of the newest journal. `None` when there is none.
pub(crate) fn cut_last_entry(directory: &Path) -> std::io::Result<Option<Cut>> {
    let Some(path) = newest_journal(directory)? else {
        return Ok(None);
    };
    let mut file = OpenOptions::new().read(true).write(true).open(path)?;
    let length = file.metadata()?.len();
    // Behind the last entry a journal is empty, or filled with zeros.
    let Some(end) = end_of_content(&mut file, length)?.filter(|end| *end > CUT) else {
        return Ok(None);
    };
    let at = end - CUT;
    let mut bytes = vec![0; usize::try_from(CUT).unwrap_or_default()];
    file.read_exact_at(&mut bytes, at)?;
    file.set_len(at)?;
    file.sync_all()?;
    Ok(Some(Cut {
        file,
        at,
        bytes,
        length,
    }))
}

impl Cut {
    /// Puts the end back: the damage was another one.
    pub(crate) fn undo(self) -> std::io::Result<()> {
        self.file.set_len(self.length)?;
        self.file.write_all_at(&self.bytes, self.at)?;
        self.file.sync_all()
    }
}

/// The journal that was written last.
fn newest_journal(directory: &Path) -> std::io::Result<Option<PathBuf>> {
    let newest = journals(directory)?.pop();
    Ok(newest.map(|(number, _)| directory.join(format!("{number}.jnl"))))
}

/// Where the last byte that isn't zero ends.
fn end_of_content(file: &mut File, length: u64) -> std::io::Result<Option<u64>> {
    let mut end = length;
    let mut block = Vec::new();
    while end > 0 {
        let start = end.saturating_sub(BLOCK);
        block.clear();
        file.seek(SeekFrom::Start(start))?;
        file.take(end - start).read_to_end(&mut block)?;
        if let Some(place) = block.iter().rposition(|byte| *byte != 0) {
            return Ok(Some(start + place as u64 + 1));
        }
        end = start;
    }
    Ok(None)
}
