//! The choice of the next token, by its twin, by the CPU's fast form and by its shader: which tokens may be chosen, and how often.

mod common;

use common::{Make, Random, read_words};
use pollster::block_on;
use webreft::backend::Backend;
use webreft::kernel::{Choice, SampleSettings, sample};
use webreft::plan::Record;

const ALL: Choice = Choice { temperature: 1.0, top_k: 0, top_p: 1.0, min_p: 0.0, seed: 0 };
const GREEDY: Choice = Choice { temperature: 0.0, ..ALL };

fn backends() -> [Backend; 3] {
    [Backend::twins(), Backend::cpu(), block_on(Backend::gpu()).expect("an adapter: a software one will do")]
}

/// A token for each row of logits.
fn chosen(backend: &Backend, rows: &[Vec<f32>], choices: &[Choice]) -> Vec<usize> {
    let (n_rows, n_vocab) = (rows.len(), rows[0].len());
    let mut make = Make::new(backend);
    let logits = make.values("logits", &[n_rows, n_vocab], &rows.concat());
    let settings: Vec<u32> = choices.iter().flat_map(|choice| choice.settings(7).words()).collect();
    let settings = make.words("settings", &[n_rows, SampleSettings::WORDS], &settings);
    let tokens = make.words("tokens", &[n_rows], &vec![0; n_rows]);
    sample(&mut make.plan, logits, settings, tokens);
    let done = make.run();
    read_words(&done, tokens).into_iter().map(|token| token as usize).collect()
}

fn random_rows(random: &mut Random, n_rows: usize, n_vocab: usize) -> Vec<Vec<f32>> {
    (0..n_rows).map(|_| random.reals(n_vocab).iter().map(|x| 6.0 * x).collect()).collect()
}

/// Probabilities at a temperature.
fn softmax(logits: &[f32], temperature: f32) -> Vec<f64> {
    let highest = logits.iter().copied().fold(f32::MIN, f32::max);
    let masses: Vec<f64> = logits.iter().map(|l| f64::from((l - highest) / temperature).exp()).collect();
    let sum: f64 = masses.iter().sum();
    masses.iter().map(|mass| mass / sum).collect()
}

#[test]
fn temperature_0_takes_the_first_of_the_highest() {
    for backend in backends() {
        let mut random = Random::new(1);
        for n_vocab in [1, 2, 5, 256, 257, 3000] {
            let mut rows = random_rows(&mut random, 5, n_vocab);
            rows.push(vec![-3.5; n_vocab]);
            for row in &mut rows[..3] {
                let [a, b] = [random.below(n_vocab), random.below(n_vocab)];
                (row[a], row[b]) = (7.0, 7.0);
            }
            let first = |row: &Vec<f32>| (0..n_vocab).rev().max_by(|a, b| row[*a].total_cmp(&row[*b]));
            let want: Vec<usize> = rows.iter().filter_map(first).collect();
            assert_eq!(chosen(&backend, &rows, &vec![GREEDY; rows.len()]), want, "{n_vocab}");
        }
    }
}

/// Whether the filters, one after the other, may keep a token; sums are exact here, so the edge has a little room.
fn may_be_kept(logits: &[f32], choice: &Choice, token: usize) -> bool {
    let p = softmax(logits, choice.temperature);
    let higher = |than: usize| (0..logits.len()).filter(move |i| logits[*i] > logits[than]);
    let mut sorted = logits.to_vec();
    sorted.sort_by(|a, b| b.total_cmp(a));
    let least = match choice.top_k as usize {
        0 => f32::MIN,
        top_k => sorted[top_k.min(logits.len()) - 1],
    };
    let kept_by_k = |i: usize| logits[i] >= least;
    let kept_mass: f64 = (0..p.len()).filter(|i| kept_by_k(*i)).map(|i| p[i]).sum();
    let mass_above: f64 = higher(token).map(|i| p[i]).sum();
    let highest = p.iter().copied().fold(0.0, f64::max);
    kept_by_k(token)
        && mass_above <= f64::from(choice.top_p) * kept_mass + 1e-5
        && p[token] >= f64::from(choice.min_p) * highest * (1.0 - 1e-5)
}

fn filters() -> Vec<Choice> {
    let mut choices = vec![ALL];
    for temperature in [0.3, 1.0, 2.5] {
        choices.extend([1, 2, 17, 5000].map(|top_k| Choice { temperature, top_k, ..ALL }));
        choices.extend([0.0, 0.1, 0.5, 0.95].map(|top_p| Choice { temperature, top_p, ..ALL }));
        choices.extend([0.01, 0.5, 1.0].map(|min_p| Choice { temperature, min_p, ..ALL }));
        choices.push(Choice { temperature, top_k: 20, top_p: 0.8, min_p: 0.05, seed: 0 });
    }
    choices
}

#[test]
fn only_kept_tokens_are_chosen() {
    for backend in backends() {
        let mut random = Random::new(2);
        for n_vocab in [1, 40, 700] {
            for choice in filters() {
                let rows = random_rows(&mut random, 32, n_vocab);
                let choices: Vec<Choice> = (0..32).map(|seed| Choice { seed, ..choice }).collect();
                for (row, token) in rows.iter().zip(chosen(&backend, &rows, &choices)) {
                    assert!(may_be_kept(row, &choice, token), "{choice:?}: token {token} of {n_vocab}");
                }
            }
        }
    }
}

/// Vocabularies of Qwen 2.5 and of Gemma 3.
#[test]
fn only_kept_tokens_of_a_real_vocabulary_are_chosen_on_the_cpu() {
    let mut random = Random::new(5);
    for n_vocab in [151_936, 262_144] {
        let row = random_rows(&mut random, 1, n_vocab);
        let highest = (0..n_vocab).max_by(|a, b| row[0][*a].total_cmp(&row[0][*b]));
        assert_eq!(chosen(&Backend::cpu(), &row, &[GREEDY]), Vec::from_iter(highest), "{n_vocab}");
        for choice in [
            Choice { top_k: 40, seed: 1, ..ALL },
            Choice { top_p: 0.3, seed: 2, ..ALL },
            Choice { min_p: 0.5, seed: 3, ..ALL },
            Choice { top_k: 5000, top_p: 0.9, min_p: 0.9, seed: 4, temperature: 0.8 },
        ] {
            let token = chosen(&Backend::cpu(), &row, &[choice])[0];
            assert!(may_be_kept(&row[0], &choice, token), "{choice:?}: token {token} of {n_vocab}");
        }
    }
}

/// Rounding may tip a draw that falls on the edge between two tokens, and nothing else.
#[test]
fn all_backends_draw_as_the_twin() {
    let [twin, cpu, gpu] = backends();
    let mut random = Random::new(3);
    let mut tipped = 0;
    for (other, n_vocab) in [(&cpu, 40), (&cpu, 700), (&gpu, 40), (&gpu, 700)] {
        for choice in filters() {
            let rows = random_rows(&mut random, 32, n_vocab);
            let choices: Vec<Choice> = (0..32).map(|i| Choice { seed: i * 77_777, ..choice }).collect();
            let [a, b] = [&twin, other].map(|backend| chosen(backend, &rows, &choices));
            for (row, (a, b)) in rows.iter().zip(a.into_iter().zip(b)).filter(|(_, (a, b))| a != b) {
                let between = a.min(b) + 1..a.max(b);
                let kept = |i: &usize| may_be_kept(row, &choice, *i);
                assert_eq!(between.filter(kept).count(), 0, "{choice:?}: {a} and {b}");
                tipped += 1;
            }
        }
    }
    assert!(tipped < 3, "{tipped} draws differ");
}

#[test]
fn tokens_come_as_often_as_their_probability_says() {
    let logits = vec![0.0, 1.5, -1.0, 0.5, 2.0, -30.0, 0.0];
    let n = 8192;
    for backend in backends() {
        for (choice, kept) in [(ALL, 0b111_1111), (Choice { top_k: 3, temperature: 2.0, ..ALL }, 0b001_1010)]
        {
            let mut p = softmax(&logits, choice.temperature);
            p.iter_mut().enumerate().for_each(|(i, p)| *p *= f64::from(kept >> i & 1));
            let sum: f64 = p.iter().sum();
            let choices: Vec<Choice> = (0..n).map(|seed| Choice { seed, ..choice }).collect();
            let mut counts = vec![0; logits.len()];
            for token in chosen(&backend, &vec![logits.clone(); n as usize], &choices) {
                counts[token] += 1;
            }
            for (i, count) in counts.iter().enumerate() {
                let (p, n) = (p[i] / sum, f64::from(n));
                let deviation = (n * p * (1.0 - p)).sqrt();
                assert!(
                    (f64::from(*count) - n * p).abs() <= 4.0 * deviation + 1e-9,
                    "{i}: {count} of {n}, p {p}"
                );
            }
        }
    }
}
