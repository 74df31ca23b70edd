//! Files of this machine that are to be sent, with the names that they get: all of them looked at before any goes.

use std::{
    fs::{self, DirEntry, File, Metadata},
    io::Read as _,
    os::unix::fs::{FileTypeExt as _, MetadataExt as _},
    path::{Path, PathBuf},
};

use anyhow::Context as _;
use lodeway_domain::Error;
use lodeway_store::artifacts::ArtifactPath;

use super::{Failure, refused};

/// A file and what it is to be called.
#[derive(Debug)]
pub struct LocalFile {
    /// Where it is.
    pub path: PathBuf,
    /// The path that it gets below the location.
    pub name: String,
    /// Its size, in bytes.
    pub size: u64,
}

/// The file at `from`, or every file below it, named below `folder` of the location. Links are followed. Errors: something
/// that is no file, a name that no artifact can have, links that lead in a circle, what cannot be read, by name.
pub fn gather(from: &Path, folder: &str) -> Result<Vec<LocalFile>, Failure> {
    let about = look(from)?;
    let mut files = Vec::new();
    let mut names = Vec::new();
    names.extend(Some(folder.trim_end_matches('/').to_owned()).filter(|name| !name.is_empty()));
    if about.is_dir() {
        Walk {
            above: Vec::new(),
            links: Vec::new(),
            files: &mut files,
        }
        .enter(from, &about, &names)?;
    } else {
        let own = from.file_name().unwrap_or(from.as_os_str());
        names.push(named(own.to_str(), from)?);
        files.push(file(from, &about, &names)?);
    }
    Ok(files)
}

/// The size of a file that is to be sent whole, in bytes. Errors: it is not there, or is none: a pipe or a device may never
/// end.
pub fn size(path: &Path) -> Result<u64, Failure> {
    let about = look(path)?;
    check_kind(path, &about)?;
    Ok(about.len())
}

/// A way through folders.
struct Walk<'a> {
    /// The folders that it is in, by what the system knows them by.
    above: Vec<(u64, u64, PathBuf)>,
    /// The links that it went over to get there.
    links: Vec<PathBuf>,
    files: &'a mut Vec<LocalFile>,
}

impl Walk<'_> {
    fn enter(&mut self, folder: &Path, about: &Metadata, names: &[String]) -> Result<(), Failure> {
        let is_this =
            |(device, inode, _): &&(u64, u64, PathBuf)| (*device, *inode) == (about.dev(), about.ino());
        if let Some((_, _, before)) = self.above.iter().find(is_this) {
            let link = self.links.last().map_or(folder, PathBuf::as_path);
            return Err(refused(format!(
                "`{}` is a link that leads back to `{}`: there would be no end",
                link.display(),
                before.display()
            )));
        }
        self.above.push((about.dev(), about.ino(), folder.to_owned()));
        let read = fs::read_dir(folder).and_then(Iterator::collect::<Result<Vec<_>, _>>);
        let mut entries: Vec<DirEntry> = read.with_context(|| folder.display().to_string())?;
        entries.sort_by_key(DirEntry::file_name);
        for entry in entries {
            let path = entry.path();
            let about = look(&path)?;
            let mut names = names.to_vec();
            names.push(named(entry.file_name().to_str(), &path)?);
            if !about.is_dir() {
                self.files.push(file(&path, &about, &names)?);
                continue;
            }
            let is_link = entry.file_type().is_ok_and(|kind| kind.is_symlink());
            self.links.extend(is_link.then(|| path.clone()));
            self.enter(&path, &about, &names)?;
            if is_link {
                self.links.pop();
            }
        }
        self.above.pop();
        Ok(())
    }
}

fn look(path: &Path) -> Result<Metadata, Failure> {
    Ok(fs::metadata(path).with_context(|| path.display().to_string())?)
}

/// A name as it is. Errors: it is no text, or has what separates folders elsewhere.
fn named(name: Option<&str>, path: &Path) -> Result<String, Failure> {
    match name {
        None => Err(refused(format!(
            "the name of `{}` is not UTF-8; no artifact can have it",
            path.display()
        ))),
        Some(name) if name.contains('\\') => Err(refused(format!(
            "the name of `{}` has a backslash; no artifact can have it",
            path.display()
        ))),
        Some(name) => Ok(name.to_owned()),
    }
}

fn file(path: &Path, about: &Metadata, names: &[String]) -> Result<LocalFile, Failure> {
    check_kind(path, about)?;
    let name = names.join("/");
    if let Err(error) = ArtifactPath::parse(&name) {
        let why = match &error {
            Error::Invalid(violations) => violations.iter().map(|one| one.description.to_string()).collect(),
            other => vec![other.to_string()],
        };
        return Err(refused(format!(
            "`{}` cannot be sent: its path `{name}` {}",
            path.display(),
            why.join("; ")
        )));
    }
    check_readable(path)?;
    Ok(LocalFile {
        path: path.to_owned(),
        name,
        size: about.len(),
    })
}

/// Reads the first byte: some files can be opened and not read.
fn check_readable(path: &Path) -> Result<(), Failure> {
    let read = File::open(path).and_then(|mut file| file.read(&mut [0]));
    read.with_context(|| format!("`{}` cannot be read", path.display()))?;
    Ok(())
}

fn check_kind(path: &Path, about: &Metadata) -> Result<(), Failure> {
    let kind = about.file_type();
    if kind.is_file() {
        return Ok(());
    }
    let what = match kind {
        kind if kind.is_dir() => "a folder",
        kind if kind.is_fifo() => "a pipe",
        kind if kind.is_socket() => "a socket",
        _ => "a device",
    };
    Err(refused(format!(
        "`{}` is {what}; only files can be sent",
        path.display()
    )))
}

#[cfg(test)]
mod tests {
    use std::{ffi::OsStr, os::unix::ffi::OsStrExt as _};

    use super::*;

    fn why(failure: Failure) -> String {
        super::super::told(failure).0
    }

    /// A folder with files of these names, each with its name in it.
    fn folder(names: &[&[u8]]) -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        for name in names {
            let path = folder.path().join(OsStr::from_bytes(name));
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, name).unwrap();
        }
        folder
    }

    #[test]
    fn files_of_a_folder_have_its_paths_below_the_one_that_is_asked_for() {
        let folder = folder(&[b"b/c.txt", b"a", "ü %41".as_bytes()]);
        let found = gather(folder.path(), "x/y/").unwrap();
        let names: Vec<_> = found.iter().map(|file| (file.name.as_str(), file.size)).collect();
        assert_eq!(names, [("x/y/a", 1), ("x/y/b/c.txt", 7), ("x/y/ü %41", 6)]);
        let one = gather(&folder.path().join("b/c.txt"), "").unwrap();
        assert_eq!(
            one.iter().map(|file| file.name.as_str()).collect::<Vec<_>>(),
            ["c.txt"]
        );
    }

    #[test]
    fn a_name_that_no_artifact_can_have_refuses_the_whole_folder() {
        for (bad, reason) in [
            (&br"z\s"[..], "backslash"),
            (b"\xff\xfe", "not UTF-8"),
            (b"a#b", "`#`"),
            (b"bell\x07", "control character"),
            (b"sub\\dir/x", "backslash"),
        ] {
            let folder = folder(&[b"a", bad]);
            let said = why(gather(folder.path(), "").unwrap_err());
            assert!(said.contains(reason), "{said}");
            // On its own too.
            let file = folder.path().join(OsStr::from_bytes(bad));
            if !bad.contains(&b'/') {
                assert!(why(gather(&file, "").unwrap_err()).contains(reason));
            }
        }
        let folder = folder(&[b"a"]);
        assert!(gather(folder.path(), "../x").is_err());
    }

    #[test]
    fn what_is_no_file_is_refused_with_its_path() {
        let folder = folder(&[b"a"]);
        let socket = folder.path().join("s.sock");
        let _listener = std::os::unix::net::UnixListener::bind(&socket).unwrap();
        let said = why(gather(folder.path(), "").unwrap_err());
        assert!(said.contains("s.sock` is a socket"), "{said}");
        fs::remove_file(&socket).unwrap();
        let made = std::process::Command::new("mkfifo")
            .arg(folder.path().join("p"))
            .status();
        assert!(made.unwrap().success());
        let said = why(gather(folder.path(), "").unwrap_err());
        assert!(said.contains("/p` is a pipe"), "{said}");
        assert!(why(size(Path::new("/dev/null")).unwrap_err()).contains("`/dev/null` is a device"));
        assert!(why(size(folder.path()).unwrap_err()).contains("is a folder"));
    }

    #[test]
    fn a_file_that_cannot_be_read_refuses_the_whole_folder() {
        // Only written to, whoever asks.
        let unreadable = Path::new("/proc/self/clear_refs");
        let folder = folder(&[b"a"]);
        std::os::unix::fs::symlink(unreadable, folder.path().join("b")).unwrap();
        for from in [folder.path(), &folder.path().join("b")] {
            let said = why(gather(from, "").unwrap_err());
            let wanted = format!("`{}` cannot be read: ", folder.path().join("b").display());
            assert!(said.starts_with(&wanted), "{said}");
        }
    }

    #[test]
    fn links_are_followed_but_not_in_circles() {
        use std::os::unix::fs::symlink;
        let elsewhere = folder(&[b"deep/f"]);
        let folder = folder(&[b"o2/a"]);
        symlink(elsewhere.path().join("deep/f"), folder.path().join("file")).unwrap();
        // The same folder twice is no circle.
        symlink(elsewhere.path(), folder.path().join("l1")).unwrap();
        symlink(elsewhere.path(), folder.path().join("l2")).unwrap();
        let found = gather(folder.path(), "").unwrap();
        let names: Vec<_> = found.iter().map(|file| file.name.as_str()).collect();
        assert_eq!(names, ["file", "l1/deep/f", "l2/deep/f", "o2/a"]);
        symlink("..", folder.path().join("o2/loop")).unwrap();
        let said = why(gather(folder.path(), "").unwrap_err());
        assert!(said.contains("o2/loop` is a link that leads back to `"), "{said}");
        // Also from below the folder that the link leads to.
        let said = why(gather(&folder.path().join("o2"), "").unwrap_err());
        assert!(said.contains("o2/loop` is a link that leads back to `"), "{said}");
    }
}
