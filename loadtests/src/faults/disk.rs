//! A disk that is full: a file that takes what is left of a small file system.

use std::fs::File;
use std::io::{ErrorKind, Write as _};
use std::path::Path;

use anyhow::{Context as _, Result, bail};

/// Nobody's disk is filled: only a file system that was made for it.
const LARGEST: u64 = 2 << 30;
const FILLER: &str = ".full";

/// Fills the file system of this folder, which must be a small one of its own.
///
/// # Errors
/// When it is not small, or can't be written.
pub fn fill(folder: &Path) -> Result<()> {
    fill_up_to(folder, LARGEST)
}

fn fill_up_to(folder: &Path, largest: u64) -> Result<()> {
    let told = || format!("{}", folder.display());
    let system = rustix::fs::statvfs(folder).with_context(told)?;
    let size = system.f_blocks.saturating_mul(system.f_frsize);
    if size > largest {
        bail!(
            "{} is on a file system of {} MiB, which is not for filling: mount a small one there",
            folder.display(),
            size >> 20
        );
    }
    let mut file = File::create(folder.join(FILLER)).with_context(told)?;
    let mut piece = vec![0; 1 << 20];
    loop {
        match file.write(&piece) {
            Ok(_) => {}
            Err(error) if error.kind() == ErrorKind::StorageFull && piece.len() > 1 => {
                piece.truncate(piece.len() / 2);
            }
            Err(error) if error.kind() == ErrorKind::StorageFull => return Ok(()),
            Err(error) => return Err(error).with_context(told),
        }
    }
}

/// Gives the space back.
///
/// # Errors
/// When the file can't be deleted.
pub fn drain(folder: &Path) -> Result<()> {
    let file = folder.join(FILLER);
    std::fs::remove_file(&file).with_context(|| format!("{}", file.display()))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_large_disk_is_left_alone() {
        let folder = std::env::temp_dir();
        let refused = fill_up_to(&folder, 1).unwrap_err().to_string();
        assert!(refused.contains("not for filling"), "{refused}");
        assert!(!folder.join(FILLER).exists());
        assert!(drain(&folder.join("nowhere")).is_err());
    }
}
