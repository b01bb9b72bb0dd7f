//! Reads the files that decide which blobs are live: `index.json`, docker's files, the holds.
//!
//! *Failure*: a file that cannot be parsed is read again a few times, since some writers rewrite it in place.
//! After that it is an error, never "empty".

use std::fs::File;
use std::io::Read as _;

use rustix::fs::{FileType, Stat};

use super::state::{Fingerprint, Texts};
use super::{Layout, MAX_SMALL_FILE_BYTES, PARSE_ATTEMPTS, PARSE_PAUSE, State, encoding_of};
use crate::error::{Error, NotALayout, Result};
use crate::fs::{Links, modified_of, open_file, stat_of};
use crate::layout::holds::Holds;
use crate::oci::index_json::MAX_INDEX_BYTES;
use crate::oci::{Digest, DockerSave, IndexDoc};

impl Layout {
    /// Reads `index.json`, `manifest.json`, the holds and second indexes.
    ///
    /// # Errors
    /// [`Error::Malformed`] if one of them cannot be parsed even after it was read several times, [`Error::Read`] if it
    /// cannot be read.
    pub fn read_state(&self) -> Result<State> {
        let (index_modified, index) = self
            .parse_repeatedly("index.json", MAX_INDEX_BYTES, |bytes| {
                IndexDoc::parse(bytes).map_err(|error| error.to_string())
            })?
            .ok_or_else(|| Error::NotALayout {
                path: self.path.clone(),
                what: NotALayout::NoIndex,
            })?;
        let save = self.parse_repeatedly("manifest.json", MAX_SMALL_FILE_BYTES, |bytes| {
            match DockerSave::parse(&bytes) {
                Ok(save) => Ok((bytes, save)),
                Err(error) => Err(format!("not the `manifest.json` of docker save: {error}")),
            }
        })?;
        let repositories = match &save {
            Some((_, (_, Some(_)))) => {
                self.parse_repeatedly("repositories", MAX_SMALL_FILE_BYTES, |bytes| {
                    String::from_utf8(bytes).map_err(|error| error.to_string())
                })?
            }
            // Without docker's `manifest.json`, a file of this name belongs to another tool.
            _ => None,
        };
        let holds =
            self.parse_repeatedly(
                Holds::FILE,
                MAX_SMALL_FILE_BYTES,
                |bytes| match Holds::parse(&bytes) {
                    Ok(holds) => Ok((bytes, holds)),
                    Err(error) => Err(format!("not a holds file: {error}")),
                },
            )?;
        let mut texts = Texts::default();
        let docker_save = save.and_then(|(_, (bytes, save))| {
            texts.manifest_json = Some(bytes);
            save
        });
        let repositories = repositories.map(|(_, text)| {
            texts.repositories = Some(text.clone().into_bytes());
            text
        });
        let holds = holds.map(|(_, (bytes, holds))| {
            texts.holds = Some(bytes);
            holds
        });
        let second_indexes = self.read_second_indexes(docker_save.is_some())?;
        Ok(State::new(
            index,
            index_modified,
            docker_save,
            repositories,
            holds.unwrap_or_default(),
            second_indexes,
            texts,
        ))
    }

    /// Computes the fingerprint of the state without parsing `index.json` or keeping it in memory. `None` if its length
    /// changes during the reading, or it does not exist or is too large.
    ///
    /// # Errors
    /// [`Error::Read`] and [`Error::Malformed`], as for [`Layout::read_state`].
    pub(crate) fn hash_state(&self) -> Result<Option<Digest>> {
        let mut hashing = Fingerprint::default();
        let Some((file, stat)) = self.open_own("index.json")? else {
            return Ok(None);
        };
        let len = u64::try_from(stat.st_size).unwrap_or_default();
        let path = || self.path.join("index.json");
        if len > MAX_INDEX_BYTES || !hashing.file(file, len).map_err(Error::read(path()))? {
            return Ok(None);
        }
        let save = self.read_own_file("manifest.json")?;
        let is_save = |bytes: &Vec<u8>| matches!(DockerSave::parse(bytes), Ok(Some(_)));
        let has_save = save.as_ref().is_some_and(is_save);
        let repositories = if has_save {
            self.read_own_file("repositories")?
        } else {
            None
        };
        for text in [save, repositories, self.read_own_file(Holds::FILE)?] {
            hashing.text(text.as_deref());
        }
        for index in self.read_second_indexes_once(has_save)? {
            hashing.second_index(index.name(), &index.content);
        }
        Ok(Some(hashing.finish()))
    }

    /// Reads a file until it can be parsed or the attempts are used up. Returns its mtime as well; `None` if it does not
    /// exist.
    fn parse_repeatedly<T>(
        &self,
        name: &str,
        cap: u64,
        parse: impl Fn(Vec<u8>) -> Result<T, String>,
    ) -> Result<Option<(i128, T)>> {
        let path = self.path.join(name);
        let mut why = String::new();
        for attempt in 0..PARSE_ATTEMPTS {
            if attempt > 0 {
                std::thread::sleep(PARSE_PAUSE);
            }
            let Some((bytes, modified)) = self.read_file(name, cap)? else {
                return Ok(None);
            };
            if let Some(what) = encoding_of(&bytes) {
                why = what.to_owned();
                continue;
            }
            match parse(bytes) {
                Ok(value) => return Ok(Some((modified, value))),
                Err(error) => why = error,
            }
        }
        Err(Error::Malformed { path, why })
    }

    /// Opens a regular file of the layout, following a link to it.
    fn open_own(&self, name: &str) -> Result<Option<(File, Stat)>> {
        let path = self.path.join(name);
        let file = match open_file(&self.dir, name, Links::Follow) {
            Ok(file) => file,
            Err(rustix::io::Errno::NOENT) => return Ok(None),
            Err(error) => return Err(Error::read(&path)(error.into())),
        };
        let stat = stat_of(&file).map_err(|error| Error::read(&path)(error.into()))?;
        if !FileType::from_raw_mode(stat.st_mode).is_file() {
            let why = "it is not a regular file".to_owned();
            return Err(Error::Malformed { path, why });
        }
        Ok(Some((File::from(file), stat)))
    }

    /// Reads a regular file of the layout, following a link to it. Returns its bytes and mtime.
    pub(super) fn read_file(&self, name: &str, cap: u64) -> Result<Option<(Vec<u8>, i128)>> {
        let Some((file, stat)) = self.open_own(name)? else {
            return Ok(None);
        };
        let path = self.path.join(name);
        let len = u64::try_from(stat.st_size).unwrap_or_default().min(cap);
        // Space for one byte more, so that the end is found without growing.
        let mut bytes = Vec::with_capacity(usize::try_from(len).unwrap_or_default() + 1);
        file.take(cap + 1)
            .read_to_end(&mut bytes)
            .map_err(Error::read(&path))?;
        if bytes.len() as u64 > cap {
            let why = format!("it is too large: more than {cap} bytes");
            return Err(Error::Malformed { path, why });
        }
        Ok(Some((bytes, modified_of(&stat))))
    }
}
