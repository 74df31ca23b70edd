//! The folder of a report: every file is whole, or none is there.

use std::{
    fs::{self, File},
    io,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
};

use lodeway_domain::{Error, id::new_hex};
use lodeway_scorers::{Report, plots};
use lodeway_tables::{Batch, Format, WriteOptions, Writer};

/// A folder that is being filled. Files get their names with [`Folder::finish`]; without it nothing of them stays.
pub(super) struct Folder {
    path: PathBuf,
    /// It was made for the results.
    is_new: bool,
    /// What files are called meanwhile, and then.
    pending: Vec<(PathBuf, PathBuf)>,
}

impl Folder {
    /// Makes the folder if it is not there. Errors: one line for the user, as of all functions here.
    pub(super) fn begin(path: &Path) -> Result<Self, String> {
        let is_new = !path.exists();
        fs::create_dir_all(path).map_err(|error| unwritten(path, &error))?;
        Ok(Self {
            path: path.to_owned(),
            is_new,
            pending: Vec::new(),
        })
    }

    /// `rows.parquet`, which is begun with the first rows.
    pub(super) fn rows(&mut self) -> Rows {
        let (beside, named) = self.reserve("rows.parquet");
        Rows {
            named,
            beside,
            state: Arc::default(),
        }
    }

    /// Writes the report and its plots.
    pub(super) fn put(&mut self, title: &str, report: &Report) -> Result<(), String> {
        let json = report.to_json().map_err(|error| super::told(&error))?;
        self.put_text("report.json", &json)?;
        self.put_text("report.html", &plots::html(title, report))?;
        for plot in plots::plots(report) {
            self.put_text(&format!("{}.svg", plot.name), &plot.svg)?;
        }
        Ok(())
    }

    fn put_text(&mut self, name: &str, text: &str) -> Result<(), String> {
        let (beside, named) = self.reserve(name);
        fs::write(&beside, text).map_err(|error| unwritten(&named, &error))
    }

    /// Gives all files their names, if none of these is taken by a folder.
    pub(super) fn finish(mut self) -> Result<(), String> {
        if let Some((_, taken)) = self.pending.iter().find(|(_, named)| named.is_dir()) {
            return Err(unwritten(taken, &io::Error::from(io::ErrorKind::IsADirectory)));
        }
        while let Some((beside, named)) = self.pending.last() {
            match fs::rename(beside, named) {
                // No row was measured, so none was written.
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                renamed => renamed.map_err(|error| unwritten(named, &error))?,
            }
            self.pending.pop();
        }
        self.is_new = false;
        Ok(())
    }

    fn reserve(&mut self, name: &str) -> (PathBuf, PathBuf) {
        let beside = self.path.join(format!(".lodeway-{}.partial", new_hex()));
        let named = self.path.join(name);
        self.pending.push((beside.clone(), named.clone()));
        (beside, named)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        // What cannot be removed stays; why the command ends matters more.
        for (beside, _) in &self.pending {
            drop(fs::remove_file(beside));
        }
        if self.is_new {
            drop(fs::remove_dir(&self.path));
        }
    }
}

/// What each row came to.
#[derive(Clone)]
pub(super) struct Rows {
    named: PathBuf,
    beside: PathBuf,
    state: Arc<Mutex<RowsState>>,
}

#[derive(Default)]
struct RowsState {
    writer: Option<Writer<File>>,
    failure: Option<String>,
}

impl Rows {
    /// Adds rows.
    pub(super) fn put(&self, batch: &Batch) -> Result<(), Error> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let written = self.write(&mut state.writer, batch);
        written.map_err(|why| {
            state.failure = Some(why.clone());
            Error::internal(why)
        })
    }

    fn write(&self, writer: &mut Option<Writer<File>>, batch: &Batch) -> Result<(), String> {
        let writer = match writer {
            Some(writer) => writer,
            none => {
                let file = File::create_new(&self.beside).map_err(|error| unwritten(&self.named, &error))?;
                let options = WriteOptions::default();
                let begun = Writer::new(file, Format::Parquet, &batch.schema(), &options);
                none.insert(begun.map_err(|error| unwritten(&self.named, &error))?)
            }
        };
        writer
            .write(batch)
            .map_err(|error| unwritten(&self.named, &error))
    }

    /// Why rows could not be written, if one could not.
    pub(super) fn failure(&self) -> Option<String> {
        let state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.failure.clone()
    }

    /// Writes what is left.
    pub(super) fn end(&self) -> Result<(), String> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        match state.writer.take() {
            None => Ok(()),
            Some(writer) => writer
                .finish()
                .map(drop)
                .map_err(|error| unwritten(&self.named, &error)),
        }
    }
}

fn unwritten(path: &Path, why: &dyn std::fmt::Display) -> String {
    format!("cannot write `{}`: {why}", path.display())
}

#[cfg(test)]
mod tests {
    use clap::Parser as _;

    /// Evaluates a small table into a folder.
    fn evaluate(out: &std::path::Path, table: &str) -> Result<(), super::super::Fault> {
        let folder = tempfile::tempdir().unwrap();
        let data = folder.path().join("data.csv");
        std::fs::write(&data, table).unwrap();
        let words = [
            "lodeway",
            "evaluate",
            "--target",
            "y",
            "--prediction",
            "p",
            "--data",
        ];
        let words = words.map(std::ffi::OsString::from).into_iter();
        let line = words.chain([data.into(), "--out".into(), out.into()]);
        let parsed = crate::Cli::try_parse_from(line).unwrap();
        let crate::Command::Admin(crate::cli::Command::Evaluate(arguments)) = parsed.command else {
            panic!("another command");
        };
        super::super::evaluate(&arguments).map(drop)
    }

    fn names(folder: &std::path::Path) -> Vec<String> {
        let entries = std::fs::read_dir(folder).unwrap();
        let mut names: Vec<_> = entries
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        names
    }

    const TABLE: &str = "y,p\n1.5,1.0\n2.5,2.0\n3.5,3.0\n";

    #[test]
    fn a_folder_has_all_files_or_none() {
        let folder = tempfile::tempdir().unwrap();
        let out = folder.path().join("out");
        evaluate(&out, TABLE).unwrap();
        let whole = names(&out);
        assert!(whole.iter().any(|name| name == "rows.parquet"), "{whole:?}");
        assert!(whole.iter().all(|name| !name.starts_with('.')), "{whole:?}");
        // Again, over what is there.
        evaluate(&out, TABLE).unwrap();
        assert_eq!(names(&out), whole);
        // Data that cannot be measured leave what was there, and no folder where there was none.
        let is_wrong = |out: &_| matches!(evaluate(out, "y,p\n1.5,x\n"), Err(super::super::Fault::Wrong(_)));
        assert!(is_wrong(&out));
        assert_eq!(names(&out), whole);
        let fresh = folder.path().join("fresh");
        assert!(is_wrong(&fresh));
        assert!(!fresh.exists());
    }

    #[test]
    fn a_file_that_cannot_get_its_name_is_told_and_leaves_nothing_half() {
        let out = tempfile::tempdir().unwrap();
        std::fs::create_dir_all(out.path().join("report.json/x")).unwrap();
        let Err(super::super::Fault::Unwritten(why)) = evaluate(out.path(), TABLE) else {
            panic!("it is written");
        };
        assert!(why.contains("report.json`: "), "{why}");
        assert!(names(out.path()).iter().all(|name| !name.starts_with('.')));
        assert_eq!(names(out.path()), ["report.json"]);
    }
}
