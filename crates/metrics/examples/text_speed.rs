//! How long text metrics of 100,000 pairs take: `cargo run --release -p lodeway-metrics --example text_speed`.
//!
//! With a path it also writes the pairs there, one JSON list a line, so that another program can be timed on the same.
#![expect(
    clippy::print_stdout,
    reason = "an example that measures prints what it found"
)]

use std::{error::Error, fs, hint::black_box};

use lodeway_metrics::{
    Options, Random,
    text::{BleuStats, ChrfStats, evaluate_text, levenshtein, rouge},
};

const PAIRS: usize = 100_000;

/// Milliseconds on the processor, where the system says.
fn cpu_ms() -> f64 {
    let stat = fs::read_to_string("/proc/self/schedstat").unwrap_or_default();
    let first = stat
        .split(' ')
        .next()
        .and_then(|nanoseconds| nanoseconds.parse::<f64>().ok());
    first.unwrap_or(f64::NAN) / 1e6
}

fn main() -> Result<(), Box<dyn Error>> {
    let mut random = Random::new(4, 4);
    let words: Vec<String> = (0..5000)
        .map(|_| {
            (0..2 + random.below(8))
                .map(|_| char::from(b'a' + random.below(26) as u8))
                .collect()
        })
        .collect();
    // Short words of natural text are the common ones; so are low numbers of the square.
    let word = |random: &mut Random| words[(random.unit() * random.unit() * 5000.0) as usize].as_str();
    let pairs: Vec<(String, String)> = (0..PAIRS)
        .map(|_| {
            let reference: Vec<&str> = (0..15 + random.below(20)).map(|_| word(&mut random)).collect();
            let text: Vec<&str> = reference
                .iter()
                .map(|own| {
                    if random.unit() < 0.3 {
                        word(&mut random)
                    } else {
                        own
                    }
                })
                .collect();
            (text.join(" ") + ".", reference.join(" ") + ".")
        })
        .collect();
    if let Some(path) = std::env::args().nth(1) {
        let line = |(text, reference): &(String, String)| format!("[\"{text}\", \"{reference}\"]\n");
        fs::write(path, pairs.iter().map(line).collect::<String>())?;
    }
    let start = cpu_ms();
    let sum: f64 = pairs
        .iter()
        .map(|(text, reference)| rouge(text, reference).rouge_lsum.f1)
        .sum();
    println!(
        "rouge       {:8.1} ms   mean rougeLsum {:.12}",
        cpu_ms() - start,
        sum / PAIRS as f64
    );
    let start = cpu_ms();
    let mut bleu = BleuStats::default();
    pairs
        .iter()
        .for_each(|(text, reference)| bleu += BleuStats::of(text, &[reference]));
    println!(
        "bleu        {:8.1} ms   corpus {:.12}",
        cpu_ms() - start,
        bleu.score(false)
    );
    let start = cpu_ms();
    let mut chrf = ChrfStats::default();
    pairs
        .iter()
        .for_each(|(text, reference)| chrf += ChrfStats::of(text, &[reference]));
    println!(
        "chrf        {:8.1} ms   corpus {:.12}",
        cpu_ms() - start,
        chrf.score()
    );
    let start = cpu_ms();
    let distance: usize = pairs
        .iter()
        .map(|(text, reference)| levenshtein(text, reference))
        .sum();
    println!(
        "levenshtein {:8.1} ms   sum {}",
        cpu_ms() - start,
        black_box(distance)
    );
    let (texts, references): (Vec<&str>, Vec<&str>) = pairs
        .iter()
        .map(|(text, reference)| (text.as_str(), reference.as_str()))
        .unzip();
    for (name, analytic_above) in [("analytic", 0), ("bootstrap", PAIRS)] {
        let start = cpu_ms();
        let options = Options {
            analytic_above,
            ..Options::default()
        };
        let metrics = evaluate_text(&texts, &references, &options)?;
        println!(
            "{name:11} {:8.1} ms   bleu {:.6?} chrf {:.6?} rougeL {:.6?}",
            cpu_ms() - start,
            metrics["bleu"],
            metrics["chrf"],
            metrics["rougeL"]
        );
    }
    Ok(())
}
