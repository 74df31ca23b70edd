//! Names for what callers leave nameless: an adjective, a noun and a number.

use lodeway_domain::id::new_hex;

const ADJECTIVES: [&str; 48] = [
    "amber", "brisk", "calm", "clever", "copper", "coral", "dapper", "eager", "early", "fleet", "fond",
    "gentle", "glad", "golden", "hardy", "humble", "ivory", "jolly", "keen", "kind", "lively", "lucid",
    "mellow", "merry", "mild", "nimble", "noble", "olive", "patient", "plucky", "polite", "proud", "quick",
    "quiet", "rapid", "rosy", "sandy", "serene", "silver", "spry", "steady", "sunny", "swift", "tidy",
    "upbeat", "vivid", "warm", "witty",
];

const NOUNS: [&str; 48] = [
    "alder", "badger", "beacon", "birch", "bison", "brook", "canyon", "cedar", "comet", "crane", "delta",
    "dune", "falcon", "fern", "fjord", "gecko", "glacier", "harbor", "heron", "ibis", "island", "juniper",
    "kestrel", "lagoon", "lark", "lynx", "maple", "marten", "meadow", "mesa", "newt", "orchid", "otter",
    "pebble", "pine", "plover", "quail", "raven", "reef", "ridge", "salmon", "sparrow", "spruce", "summit",
    "thistle", "tundra", "willow", "wren",
];

/// A name such as `brisk-otter-407`; many, but not unique.
pub fn invent() -> String {
    let hex = new_hex();
    // The last digits of a time-ordered UUID are random.
    let random = u64::from_str_radix(&hex[hex.len() - 12..], 16).unwrap_or_default();
    let pick = |words: &[&'static str], by: u64| {
        let index = usize::try_from(by % words.len() as u64).unwrap_or_default();
        words[index]
    };
    format!(
        "{}-{}-{}",
        pick(&ADJECTIVES, random),
        pick(&NOUNS, random >> 12),
        (random >> 24) % 1_000
    )
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    #[test]
    fn names_have_three_parts_and_differ() {
        let names: HashSet<String> = (0..100).map(|_| super::invent()).collect();
        assert!(names.iter().all(|name| name.split('-').count() == 3));
        assert!(names.len() > 90);
    }
}
