//! Which folders must stay, in whatever spelling they were named.

use std::collections::{BTreeMap, btree_map::Entry};

use lodeway_domain::Result;

use crate::{
    args,
    artifacts::{Roots, spelled},
    sql::Conn,
};

/// Folders that must stay and why, by their one spelling.
pub(super) struct Places<'a> {
    roots: Option<&'a Roots>,
    kept: BTreeMap<String, String>,
    /// Folders that hold others' folders, each with a reason of its own: they keep what they lie in, and nothing in them.
    homes: BTreeMap<String, String>,
}

impl<'a> Places<'a> {
    /// None yet.
    pub(super) fn none(roots: Option<&'a Roots>) -> Self {
        let (kept, homes) = (BTreeMap::new(), BTreeMap::new());
        Self { roots, kept, homes }
    }

    /// Those that versions of a workspace refer to.
    pub(super) async fn of_versions(
        conn: &mut Conn,
        workspace: &str,
        roots: Option<&'a Roots>,
    ) -> Result<Self> {
        let mut places = Self::none(roots);
        let sql = "SELECT artifact_uri, name, version FROM version_references \
                   WHERE workspace = $1 AND NOT released AND artifact_uri <> '' ORDER BY artifact_uri, name, version";
        for row in conn.query(sql, &args![workspace]).await? {
            let (name, version) = (row.str(1)?, row.int(2)?);
            places.keep(row.str(0)?, || held_by(&format!("{name}/{version}")));
        }
        Ok(places)
    }

    /// Adds the folders in which experiments of a workspace keep their runs: clients may place one in the folder of a run.
    pub(super) async fn add_experiments(&mut self, conn: &mut Conn, workspace: &str) -> Result<()> {
        let sql = "SELECT artifact_location, name FROM experiments WHERE workspace = $1 ORDER BY id";
        for row in conn.query(sql, &args![workspace]).await? {
            if let Entry::Vacant(free) = self.homes.entry(spelled(self.roots, row.str(0)?)) {
                free.insert(format!("experiment `{}`", row.str(1)?));
            }
        }
        Ok(())
    }

    /// Adds one; the first reason for a folder stays.
    pub(super) fn keep(&mut self, uri: &str, why: impl FnOnce() -> String) {
        if let Entry::Vacant(free) = self.kept.entry(spelled(self.roots, uri)) {
            free.insert(why());
        }
    }

    /// Why a folder must stay, if it does: it is such a folder itself, one lies in it, or it lies in one.
    pub(super) fn keeper(&self, uri: &str) -> Option<&str> {
        if (self.kept.is_empty() && self.homes.is_empty()) || uri.is_empty() {
            return None;
        }
        let place = spelled(self.roots, uri);
        let around = || {
            let slashes = place.rmatch_indices('/');
            slashes.filter_map(|(at, _)| self.kept.get(&place[..at])).next()
        };
        let found = at_or_in(&self.kept, &place)
            .or_else(around)
            .or_else(|| at_or_in(&self.homes, &place));
        found.map(String::as_str)
    }
}

/// The reason of a place or of one that lies in it.
fn at_or_in<'m>(places: &'m BTreeMap<String, String>, place: &str) -> Option<&'m String> {
    // `0` is the character after `/`, so the range is what begins with the place and a slash.
    let mut below = places.range(format!("{place}/")..format!("{place}0"));
    let within = || below.next().map(|(_, why)| why);
    places.get(place).or_else(within)
}

/// What keeps an entity that this version, `NAME/NUMBER`, refers to.
pub(super) fn held_by(version: &str) -> String {
    format!("model version `{version}`")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_stays_with_what_is_in_it_and_around_it() {
        let mut places = Places::none(None);
        for (uri, why) in [
            ("mlflow-artifacts:/1/r/artifacts/model/", "a"),
            ("s3a://b//p/./whole?region=x", "b"),
            ("file:///data/1/r%20x", "c"),
            ("dbfs:/one", "d"),
        ] {
            places.keep(uri, || why.to_owned());
        }
        for (uri, keeper) in [
            ("mlflow-artifacts://host:5000/1/r/artifacts", Some("a")),
            ("http://host/api/2.0/mlflow-artifacts/artifacts/1/r", Some("a")),
            ("mlflow-artifacts:1/r/artifacts", Some("a")),
            ("mlflow-artifacts:////1/r/%61rtifacts/model", Some("a")),
            ("file://LOCALHOST/data/1/r%20x", Some("c")),
            ("mlflow-artifacts:/1/r/artifacts/mode", None),
            ("mlflow-artifacts:/1/r/artifacts/model0", None),
            ("s3://b/p/whole/7/artifacts", Some("b")),
            ("s3://b/p", Some("b")),
            ("s3://other/p/whole", None),
            ("/data/1/r x/artifacts", Some("c")),
            ("/data/1/r", None),
            ("dbfs:/one/1", Some("d")),
            ("", None),
        ] {
            assert_eq!(places.keeper(uri), keeper, "{uri}");
        }
    }
}
