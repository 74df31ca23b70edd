//! Lodeway as users run it: `lodeway up`, every service in one process.

use std::{fs, path::PathBuf, process::Command, time::Instant};

use anyhow::Result;

use super::{Child, Places, Postgres, Running, first_answer, free_addr};

/// An installation: a folder and perhaps a database; it can be started again and again.
pub struct Lodeway {
    places: Places,
    data: PathBuf,
}

impl Lodeway {
    /// A new, empty installation below `name`.
    pub fn new(places: &Places, name: &str) -> Result<Self> {
        let data = places.work.join(name);
        fs::create_dir_all(&data)?;
        Ok(Self {
            places: places.clone(),
            data,
        })
    }

    /// Starts it and waits for the first answer.
    pub fn start(&self, postgres: Option<&Postgres>) -> Result<Running> {
        let addr = free_addr()?;
        let mut command = Command::new(&self.places.lodeway);
        command
            .args(["up", "--listen", &addr.to_string(), "--data-dir"])
            .arg(&self.data);
        if let Some(postgres) = postgres {
            command.args(["--store", &postgres.url("lodeway")]);
        }
        let started = Instant::now();
        let mut child = Child::spawn(command, &self.data.join("server.log"), "TERM")?;
        let start = first_answer(&mut child, addr, started)?;
        Ok(Running { child, addr, start })
    }
}
