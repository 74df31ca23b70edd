//! Names for what callers leave nameless: an adjective, a noun and a number.

use lodeway_domain::id::new_hex;

/// Words that MLflow's own clients would also give.
const ADJECTIVES: [&str; 48] = [
    "able",
    "bold",
    "bright",
    "calm",
    "capable",
    "carefree",
    "clean",
    "colorful",
    "dapper",
    "dashing",
    "debonair",
    "defiant",
    "delightful",
    "efficient",
    "fearless",
    "fortunate",
    "gentle",
    "gifted",
    "industrious",
    "judicious",
    "kindly",
    "legendary",
    "luminous",
    "melodic",
    "merciful",
    "nimble",
    "orderly",
    "peaceful",
    "persistent",
    "placid",
    "polite",
    "popular",
    "resilient",
    "respected",
    "sincere",
    "skillful",
    "smiling",
    "stately",
    "stylish",
    "tasteful",
    "thoughtful",
    "treasured",
    "trusting",
    "unique",
    "upbeat",
    "useful",
    "welcoming",
    "wistful",
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
