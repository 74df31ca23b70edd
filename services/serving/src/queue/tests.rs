//! The queue over a runtime that waits for a word.

use async_trait::async_trait;
use lodeway_domain::signature::DataType;
use lodeway_inference::{Params, Tensor};
use tokio::{sync::watch, task::JoinHandle};

use super::*;
use crate::runtime::TensorSpec;

/// Doubles each value; refuses a batch with a NaN in it, and never ends one with an infinity. Holds batches back until it is
/// let go.
struct Scripted {
    stops_at_once: bool,
    held: watch::Sender<bool>,
    /// The values of each batch, in the order in which they came.
    batches: watch::Sender<Vec<Vec<f64>>>,
}

impl Scripted {
    fn new(is_held: bool) -> Arc<Self> {
        Arc::new(Self {
            stops_at_once: true,
            held: watch::Sender::new(is_held),
            batches: watch::Sender::new(Vec::new()),
        })
    }

    fn release(&self) {
        self.held.send_replace(false);
    }

    fn batches(&self) -> Vec<Vec<f64>> {
        self.batches.borrow().clone()
    }

    async fn arrived(&self, batches: usize) {
        let mut seen = self.batches.subscribe();
        let come = seen.wait_for(|seen| seen.len() >= batches);
        tokio::time::timeout(Duration::from_secs(20), come)
            .await
            .unwrap()
            .unwrap();
    }
}

#[async_trait]
impl Runtime for Scripted {
    fn platform(&self) -> &'static str {
        "scripted"
    }

    fn inputs(&self) -> &[TensorSpec] {
        &[]
    }

    fn outputs(&self) -> &[TensorSpec] {
        &[]
    }

    fn memory_bytes(&self) -> u64 {
        0
    }

    fn parallel(&self) -> usize {
        1
    }

    fn reads_frames(&self) -> bool {
        false
    }

    fn stops_at_once(&self) -> bool {
        self.stops_at_once
    }

    async fn infer(&self, call: Call) -> Result<Payload> {
        let values = values(&call.payload);
        self.batches.send_modify(|batches| batches.push(values.clone()));
        if values.iter().any(|value| value.is_infinite()) {
            std::future::pending::<()>().await;
        }
        let mut held = self.held.subscribe();
        held.wait_for(|is_held| !is_held).await.unwrap();
        if values.iter().any(|value| value.is_nan()) {
            return Err(Error::invalid("inputs", "is no number"));
        }
        Ok(payload(
            "y",
            &values.iter().map(|value| value * 2.0).collect::<Vec<_>>(),
        ))
    }
}

fn payload(name: &str, values: &[f64]) -> Payload {
    let bytes: Vec<u8> = values.iter().flat_map(|value| value.to_le_bytes()).collect();
    Payload::Tensors(vec![
        Tensor::new(name, DataType::Fp64, vec![values.len() as i64], bytes).unwrap(),
    ])
}

fn values(payload: &Payload) -> Vec<f64> {
    let Payload::Tensors(tensors) = payload else {
        panic!("{payload:?}")
    };
    lodeway_inference::compare::numbers(&tensors[0]).collect()
}

fn limits(merges: bool) -> Limits {
    Limits {
        merges,
        max_batch_rows: 8,
        max_batch_delay: Duration::ZERO,
        max_queued: 16,
        call_timeout: Duration::from_secs(30),
        places: 1,
    }
}

fn call(name: &str, values: &[f64]) -> Call {
    Call {
        payload: payload(name, values),
        params: Params::new(),
        deadline: Instant::now() + Duration::from_secs(30),
        trace: name.into(),
    }
}

/// A queue whose only place is taken by a call of −1.
async fn busy(limits: Limits) -> (Arc<Scripted>, Queue, Tasks, JoinHandle<Result<Payload>>) {
    let (runtime, tasks) = (Scripted::new(true), Tasks::new());
    let queue = Queue::new(runtime.clone(), limits, tasks.clone());
    let first = begin(&queue, &tasks, call("x", &[-1.0]));
    runtime.arrived(1).await;
    (runtime, queue, tasks, first)
}

fn begin(queue: &Queue, tasks: &Tasks, call: Call) -> JoinHandle<Result<Payload>> {
    let queue = queue.clone();
    tasks.spawn(async move { queue.infer(call).await })
}

/// Begins calls one after the other, each waiting before the next one comes.
async fn line_up(queue: &Queue, tasks: &Tasks, calls: Vec<Call>) -> Vec<JoinHandle<Result<Payload>>> {
    let mut begun = Vec::new();
    for call in calls {
        let waiting = queue.depth().0;
        begun.push(begin(queue, tasks, call));
        while queue.depth().0 == waiting {
            tokio::task::yield_now().await;
        }
    }
    begun
}

async fn answers(begun: Vec<JoinHandle<Result<Payload>>>) -> Vec<Result<Vec<f64>>> {
    let mut found = Vec::new();
    for one in begun {
        found.push(one.await.unwrap().map(|payload| values(&payload)));
    }
    found
}

#[tokio::test]
async fn a_full_queue_refuses_and_goes_on() {
    let (runtime, queue, tasks, first) = busy(limits(false)).await;
    let begun = line_up(
        &queue,
        &tasks,
        (0..16).map(|n| call("x", &[f64::from(n)])).collect(),
    )
    .await;
    assert_eq!(queue.depth(), (16, 1));
    let full = queue.infer(call("x", &[99.0])).await.unwrap_err();
    assert!(matches!(full, Error::Exhausted { .. }), "{full:?}");
    runtime.release();
    assert_eq!(values(&first.await.unwrap().unwrap()), [-2.0]);
    for (n, answer) in answers(begun).await.into_iter().enumerate() {
        assert_eq!(answer.unwrap(), [n as f64 * 2.0]);
    }
    assert!(queue.drained(Duration::from_secs(10)).await);
    assert_eq!(runtime.batches().len(), 17);
}

/// Those that wait and those that have begun, alone or with others.
#[tokio::test]
async fn calls_whose_callers_left_hold_no_place() {
    for merges in [false, true] {
        let (runtime, queue, tasks, first) = busy(limits(merges)).await;
        let calls = vec![call("x", &[1.0]), call("x", &[2.0])];
        let begun = line_up(&queue, &tasks, calls).await;
        first.abort();
        runtime.arrived(2).await;
        for gone in begun {
            gone.abort();
            assert!(gone.await.unwrap_err().is_cancelled());
        }
        // Nothing was let go.
        assert!(queue.drained(Duration::from_secs(20)).await, "{merges}");
    }
}

#[tokio::test]
async fn a_call_that_does_not_end_takes_no_other_along() {
    let (runtime, queue, tasks, first) = busy(limits(true)).await;
    let mut endless = call("x", &[f64::INFINITY]);
    endless.deadline = Instant::now() + Duration::from_millis(300);
    let calls = vec![endless, call("x", &[1.0]), call("x", &[2.0])];
    let begun = line_up(&queue, &tasks, calls).await;
    runtime.release();
    first.await.unwrap().unwrap();
    let found = answers(begun).await;
    assert!(matches!(found[0], Err(Error::DeadlineExceeded)), "{found:?}");
    assert_eq!(found[1].as_deref().ok(), Some(&[2.0][..]));
    assert_eq!(found[2].as_deref().ok(), Some(&[4.0][..]));
}

#[tokio::test]
async fn calls_nobody_waits_for_are_not_scored_and_make_room() {
    let (runtime, queue, tasks, first) = busy(limits(false)).await;
    let mut hurried = call("x", &[1.0]);
    hurried.deadline = Instant::now() + Duration::from_millis(10);
    let mut begun = line_up(&queue, &tasks, (0..15).map(|_| call("x", &[2.0])).collect()).await;
    begun.extend(line_up(&queue, &tasks, vec![hurried]).await);
    let late = begun.pop().unwrap().await.unwrap().unwrap_err();
    assert!(matches!(late, Error::DeadlineExceeded), "{late:?}");
    // Its place in the full queue is free, and so are those of two who left.
    for gone in begun.drain(..2) {
        gone.abort();
        assert!(gone.await.unwrap_err().is_cancelled());
    }
    let more: Vec<_> = (0..3).map(|_| begin(&queue, &tasks, call("x", &[3.0]))).collect();
    while queue.depth().0 < 16 {
        tokio::task::yield_now().await;
    }
    runtime.release();
    first.await.unwrap().unwrap();
    for answer in answers(begun).await.into_iter().chain(answers(more).await) {
        answer.unwrap();
    }
    assert!(queue.drained(Duration::from_secs(10)).await);
    let scored: Vec<f64> = runtime.batches().concat();
    assert_eq!(scored.len(), 1 + 13 + 3, "{scored:?}");
    assert!(!scored.contains(&1.0));
}

#[tokio::test]
async fn a_caller_who_leaves_while_scored_gives_the_place_on() {
    let (runtime, queue, tasks, first) = busy(limits(false)).await;
    let begun = line_up(&queue, &tasks, vec![call("x", &[1.0])]).await;
    first.abort();
    runtime.arrived(2).await;
    runtime.release();
    assert_eq!(answers(begun).await.remove(0).unwrap(), [2.0]);
    assert!(queue.drained(Duration::from_secs(10)).await);
}

#[tokio::test]
async fn what_waits_together_is_scored_together() {
    let (runtime, queue, tasks, first) = busy(limits(true)).await;
    let calls = [
        &[1.0, 2.0][..],
        &[3.0],
        &[4.0, 5.0, 6.0],
        &[7.0, 8.0, 9.0],
        &[10.0],
    ];
    let begun = line_up(
        &queue,
        &tasks,
        calls.iter().map(|values| call("x", values)).collect(),
    )
    .await;
    runtime.release();
    first.await.unwrap().unwrap();
    for (given, answer) in calls.iter().zip(answers(begun).await) {
        let doubled: Vec<f64> = given.iter().map(|value| value * 2.0).collect();
        assert_eq!(answer.unwrap(), doubled);
    }
    // Eight rows at most.
    let batches = runtime.batches();
    assert_eq!(
        batches[1..],
        [vec![1.0, 2.0, 3.0, 4.0, 5.0, 6.0], vec![7.0, 8.0, 9.0, 10.0]]
    );
}

#[tokio::test]
async fn only_calls_that_fit_together_are_merged() {
    let (runtime, queue, tasks, first) = busy(limits(true)).await;
    let mut other_params = call("x", &[3.0]);
    other_params
        .params
        .insert("temperature".to_owned(), serde_json::json!(1));
    let calls = vec![
        call("x", &[1.0]),
        call("x", &[2.0]),
        other_params,
        call("z", &[4.0]),
        call("z", &[5.0]),
    ];
    let begun = line_up(&queue, &tasks, calls).await;
    runtime.release();
    first.await.unwrap().unwrap();
    let found: Vec<f64> = answers(begun)
        .await
        .into_iter()
        .flat_map(Result::unwrap)
        .collect();
    assert_eq!(found, [2.0, 4.0, 6.0, 8.0, 10.0]);
    assert_eq!(
        runtime.batches()[1..],
        [vec![1.0, 2.0], vec![3.0], vec![4.0, 5.0]]
    );
}

#[tokio::test]
async fn a_model_whose_rows_depend_on_each_other_gets_single_calls() {
    let (runtime, queue, tasks, first) = busy(limits(false)).await;
    let begun = line_up(&queue, &tasks, vec![call("x", &[1.0]), call("x", &[2.0])]).await;
    runtime.release();
    first.await.unwrap().unwrap();
    assert_eq!(answers(begun).await.len(), 2);
    assert_eq!(runtime.batches()[1..], [vec![1.0], vec![2.0]]);
}

#[tokio::test]
async fn a_bad_input_fails_its_own_caller_only() {
    let (runtime, queue, tasks, first) = busy(limits(true)).await;
    let calls = vec![call("x", &[1.0]), call("x", &[f64::NAN]), call("x", &[3.0])];
    let begun = line_up(&queue, &tasks, calls).await;
    runtime.release();
    first.await.unwrap().unwrap();
    let found = answers(begun).await;
    assert_eq!(
        (found[0].as_ref().unwrap(), found[2].as_ref().unwrap()),
        (&vec![2.0], &vec![6.0])
    );
    assert!(matches!(found[1], Err(Error::Invalid(_))), "{found:?}");
}

#[tokio::test]
async fn one_who_left_is_not_part_of_a_batch() {
    let (runtime, queue, tasks, first) = busy(limits(true)).await;
    let calls = vec![call("x", &[1.0]), call("x", &[2.0]), call("x", &[3.0])];
    let mut begun = line_up(&queue, &tasks, calls).await;
    let gone = begun.remove(1);
    gone.abort();
    assert!(gone.await.unwrap_err().is_cancelled());
    runtime.release();
    first.await.unwrap().unwrap();
    for answer in answers(begun).await {
        answer.unwrap();
    }
    assert_eq!(runtime.batches()[1..], [vec![1.0, 3.0]]);
}

#[tokio::test]
async fn a_lone_call_waits_for_company_if_it_is_told_to() {
    let (runtime, tasks) = (Scripted::new(false), Tasks::new());
    let patient = Limits {
        max_batch_delay: Duration::from_millis(50),
        ..limits(true)
    };
    let queue = Queue::new(runtime.clone(), patient, tasks.clone());
    let begun: Vec<_> = (0..4)
        .map(|n| begin(&queue, &tasks, call("x", &[f64::from(n)])))
        .collect();
    for answer in answers(begun).await {
        answer.unwrap();
    }
    assert_eq!(runtime.batches(), [[0.0, 1.0, 2.0, 3.0]]);
    assert!(queue.drained(Duration::from_secs(10)).await);
}

#[tokio::test]
async fn a_call_takes_no_longer_than_the_model_may() {
    let (runtime, tasks) = (Scripted::new(true), Tasks::new());
    let short = Limits {
        call_timeout: Duration::from_millis(30),
        ..limits(true)
    };
    let queue = Queue::new(runtime.clone(), short, tasks);
    let late = queue.infer(call("x", &[1.0])).await.unwrap_err();
    assert!(matches!(late, Error::DeadlineExceeded), "{late:?}");
    assert_eq!(queue.depth(), (0, 0));
    runtime.release();
    assert_eq!(values(&queue.infer(call("x", &[1.0])).await.unwrap()), [2.0]);
}

#[tokio::test]
async fn a_stop_waits_for_the_calls_that_are_there() {
    let (runtime, queue, tasks, first) = busy(limits(false)).await;
    let begun = line_up(&queue, &tasks, vec![call("x", &[1.0])]).await;
    assert!(!queue.drained(Duration::from_millis(20)).await);
    runtime.release();
    assert!(queue.drained(Duration::from_secs(10)).await);
    first.await.unwrap().unwrap();
    assert_eq!(answers(begun).await.remove(0).unwrap(), [2.0]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_call_gets_its_own_answer_under_load() {
    let (runtime, tasks) = (Scripted::new(false), Tasks::new());
    let wide = Limits {
        places: 2,
        max_queued: 1_000,
        ..limits(true)
    };
    let queue = Queue::new(runtime, wide, tasks.clone());
    let callers = (0..200_i32).map(|n| {
        let queue = queue.clone();
        tasks.spawn(async move {
            for round in 0..10 {
                let value = f64::from(n * 10 + round);
                let answer = queue.infer(call("x", &[value, value + 0.5])).await.unwrap();
                assert_eq!(values(&answer), [value * 2.0, value * 2.0 + 1.0]);
            }
        })
    });
    for caller in callers.collect::<Vec<_>>() {
        caller.await.unwrap();
    }
    assert_eq!(queue.depth(), (0, 0));
}

#[tokio::test]
async fn an_input_without_rows_waits_like_any_other() {
    let (runtime, queue, tasks, first) = busy(limits(true)).await;
    let scalar = || Tensor::new("x", DataType::Fp64, vec![], 7_f64.to_le_bytes().to_vec()).unwrap();
    let scalars = [0, 1].map(|_| Call {
        payload: Payload::Tensors(vec![scalar()]),
        ..call("x", &[0.0])
    });
    let begun = line_up(&queue, &tasks, scalars.into()).await;
    runtime.release();
    first.await.unwrap().unwrap();
    for answer in answers(begun).await {
        assert_eq!(answer.unwrap(), [14.0]);
    }
}

#[tokio::test]
async fn who_is_late_is_told_so_whoever_sees_it_first() {
    for millis in 0..20 {
        let (runtime, queue, tasks, first) = busy(limits(true)).await;
        let soon = Call {
            deadline: Instant::now() + Duration::from_millis(5),
            ..call("x", &[1.0])
        };
        let begun = line_up(&queue, &tasks, vec![soon]).await;
        // The next batch is looked for about when its time is over.
        tokio::time::sleep(Duration::from_micros(4_500 + 100 * millis)).await;
        runtime.release();
        first.await.unwrap().unwrap();
        for answer in answers(begun).await {
            assert!(
                matches!(answer, Ok(_) | Err(Error::DeadlineExceeded)),
                "{answer:?}"
            );
        }
    }
}
