use super::*;
use crate::model::Timestamp;
use crate::runtime::logs::{
    Arrival, Beginning, Hole, LogDefaults, LogDirectory, LogOptions, LogWriter, Piece, StoredLog,
};
use std::path::Path;

const SECOND: Duration = Duration::from_secs(1);

fn stream(task: &str, container: &str) -> Stream {
    (TaskId::new(task).unwrap(), ContainerName::new(container).unwrap())
}

fn told(up_to: u64) -> Forwarded {
    Forwarded { epoch: 0, up_to, removed: None }
}

#[test]
fn logs_take_turns_and_one_piece_is_under_way() {
    let mut queue = Queue::new(0);
    let all = [stream("a", "x"), stream("a", "y"), stream("b", "x")];
    for it in &all {
        queue.add(it.clone(), Forwarded::default());
    }
    let mut order = Vec::new();
    for round in 0..6 {
        let now = SECOND * round;
        let (it, from) = queue.next(now).unwrap();
        queue.sent(&it, (from.up_to, from.up_to + 10), true, 10, now);
        assert_eq!(queue.next(now), None);
        queue.acknowledged(&it, 0, from.up_to + 10);
        order.push(it);
    }
    assert_eq!(order[..3], all);
    assert_eq!(order[3..], all);
    assert_eq!(queue.told(&all[0]), Some(told(20)));
}

#[test]
fn the_line_is_left_to_others_for_as_long_as_a_piece_takes() {
    let mut queue = Queue::new(1000);
    let it = stream("a", "x");
    queue.add(it.clone(), Forwarded::default());
    assert!(queue.next(SECOND).is_some());
    queue.sent(&it, (0, 90), true, 3000, SECOND);
    queue.acknowledged(&it, 0, 90);
    assert_eq!(queue.due(), Some(4 * SECOND));
    assert_eq!(queue.next(3 * SECOND), None);
    assert!(queue.next(4 * SECOND).is_some());
    // Read to its end: what comes gathers for a while.
    queue.sent(&it, (90, 95), false, 1, 4 * SECOND);
    queue.acknowledged(&it, 0, 95);
    assert_eq!(queue.due(), None);
    queue.written(&it.0);
    assert_eq!(queue.due(), Some(4 * SECOND + GATHER));
}

#[test]
fn what_is_not_answered_for_goes_again_ever_more_slowly() {
    let mut queue = Queue::new(0);
    let it = stream("a", "x");
    queue.add(it.clone(), told(5));
    let mut now = SECOND;
    let mut pauses = Vec::new();
    for round in 0..8 {
        assert_eq!(queue.next(now), Some((it.clone(), told(5))));
        queue.sent(&it, (5, 9), false, 4, now);
        if round == 3 {
            // It says that it took nothing.
            queue.acknowledged(&it, 0, 5);
        }
        let due = queue.due().unwrap();
        pauses.push(due.saturating_sub(now));
        now = due;
    }
    assert_eq!((pauses[0], pauses[1], pauses[7]), (PATIENCE, 2 * PATIENCE, LONGEST));
    queue.begin();
    assert!(queue.next(now).is_some());
}

#[test]
fn a_log_that_was_set_back_has_another_numbering() {
    let mut queue = Queue::new(0);
    let it = stream("a", "x");
    queue.add(it.clone(), told(100));
    queue.set_back(&it);
    assert_eq!(queue.told(&it), Some(Forwarded { epoch: 1, up_to: 0, removed: None }));
    queue.acknowledged(&it, 0, 100);
    assert_eq!(queue.told(&it).unwrap().up_to, 0, "of the numbering before");
    queue.acknowledged(&it, 1, 40);
    assert_eq!(queue.unkept()[&it.0][&it.1], Forwarded { epoch: 1, up_to: 40, removed: None });
    assert!(!queue.has_unkept());
    // The box has forgotten it, the hub has not.
    queue.acknowledged(&it, 3, 7);
    assert_eq!(queue.told(&it), Some(Forwarded { epoch: 3, up_to: 7, removed: None }));
}

/// A box, its hub and a bad line between them, all from one seed.
struct Story {
    seed: u64,
    now: Duration,
    queue: Queue,
    streams: Vec<Stream>,
    writers: Vec<LogWriter>,
    stored: Vec<StoredLog>,
    /// Where each line is in its log.
    places: Vec<Vec<(u64, u64)>>,
    #[expect(clippy::type_complexity, reason = "named once")]
    up: Vec<(usize, u64, u64, Option<Hole>, Vec<u8>)>,
    down: Vec<(usize, u64, u64)>,
    kept: Vec<Forwarded>,
    dir: tempfile::TempDir,
}

impl Story {
    fn new(seed: u64) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let streams = vec![stream("a", "x"), stream("b", "x")];
        let mut queue = Queue::new(0);
        for it in &streams {
            queue.add(it.clone(), Forwarded::default());
        }
        let mut story = Self {
            seed: seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1,
            now: SECOND,
            queue,
            streams,
            writers: Vec::new(),
            stored: Vec::new(),
            places: vec![Vec::new(); 2],
            up: Vec::new(),
            down: Vec::new(),
            kept: vec![Forwarded::default(); 2],
            dir,
        };
        for at in 0..2 {
            let writer = story.writer(at);
            story.writers.push(writer);
            let stored = story.open(at);
            story.stored.push(stored);
        }
        story
    }

    fn chance(&mut self, below: u64) -> u64 {
        self.seed ^= self.seed << 13;
        self.seed ^= self.seed >> 7;
        self.seed ^= self.seed << 17;
        self.seed % below
    }

    fn own(&self) -> LogDirectory {
        LogDirectory::new(self.dir.path())
    }

    fn at_hub(dir: &Path) -> LogDirectory {
        LogDirectory::new(&dir.join("hub"))
    }

    fn writer(&self, at: usize) -> LogWriter {
        let (task, container) = &self.streams[at];
        let max_file = 1 + u32::try_from(at).unwrap();
        let options = LogOptions { max_size: 600, max_file, max_age: 0 };
        let path = self.dir.path().join(format!("logs/{task}/{container}.log"));
        LogWriter::open(path, options, BTreeMap::new()).unwrap()
    }

    fn open(&self, at: usize) -> StoredLog {
        let (task, container) = &self.streams[at];
        let all = LogDefaults { max_size: 0, max_file: 1, max_age: 0, max_total: 0 };
        StoredLog::open(&Self::at_hub(self.dir.path()), task, container, all).unwrap()
    }

    fn write(&mut self, at: usize) {
        let end = self.end(at);
        let text = format!("{}\n", self.places[at].len());
        let piece = Piece {
            stream: crate::runtime::logs::Stream::Stdout,
            text: text.as_bytes(),
            number: 0,
            last: true,
        };
        self.writers[at].line(&piece, Timestamp(self.now.as_millis().try_into().unwrap()));
        self.writers[at].flush();
        let place = (end, self.end(at));
        self.places[at].push(place);
        let task = self.streams[at].0.clone();
        self.queue.written(&task);
    }

    fn end(&self, at: usize) -> u64 {
        let (task, container) = &self.streams[at];
        self.own().stretch(task, container, u64::MAX, 1).unwrap().end
    }

    fn send(&mut self) {
        while let Some((it, told)) = self.queue.next(self.now) {
            let stretch = self.own().stretch(&it.0, &it.1, told.up_to, 300).unwrap();
            if stretch.to() == told.up_to {
                continue;
            }
            let (to, more) = (stretch.to(), stretch.to() < stretch.end);
            let hole =
                (stretch.from > told.up_to).then_some(Hole { from: told.up_to, until: None });
            let at = self.streams.iter().position(|other| *other == it).unwrap();
            self.queue.sent(&it, (told.up_to, to), more, stretch.bytes.len(), self.now);
            self.up.push((at, told.epoch, stretch.from, hole, stretch.bytes));
        }
    }

    fn arrive(&mut self, (at, epoch, from, hole, bytes): (usize, u64, u64, Option<Hole>, Vec<u8>)) {
        let arrival = Arrival { epoch, from, hole: hole.as_ref(), bytes: &bytes };
        self.stored[at].add(&arrival).unwrap();
        let told = self.stored[at].told();
        self.down.push((at, told.epoch, told.to));
    }

    fn hear(&mut self, (at, epoch, up_to): (usize, u64, u64)) {
        let it = self.streams[at].clone();
        self.queue.acknowledged(&it, epoch, up_to);
    }

    fn step(&mut self) {
        match self.chance(16) {
            0..=4 => {
                let at = usize::try_from(self.chance(2)).unwrap();
                for _ in 0..self.chance(9) {
                    self.write(at);
                }
            }
            5..=8 => {
                let pause = self.chance(30);
                self.now += SECOND * u32::try_from(pause).unwrap();
                self.send();
            }
            9..=11 if !self.up.is_empty() => {
                let which = usize::try_from(self.chance(self.up.len() as u64)).unwrap();
                let message = self.up[which].clone();
                match self.chance(4) {
                    0 => drop(self.up.remove(which)),
                    1 => self.arrive(message),
                    _ => {
                        self.up.remove(which);
                        self.arrive(message);
                    }
                }
            }
            12..=13 if !self.down.is_empty() => {
                let which = usize::try_from(self.chance(self.down.len() as u64)).unwrap();
                let word = self.down[which];
                if self.chance(4) > 0 {
                    self.down.remove(which);
                }
                if self.chance(4) > 0 {
                    self.hear(word);
                }
            }
            14 => match self.chance(4) {
                0 => {
                    let at = usize::try_from(self.chance(2)).unwrap();
                    self.stored[at] = self.open(at);
                }
                1 => {
                    // The agent dies: what it knew is what it wrote down some time ago.
                    self.queue = Queue::new(0);
                    for (it, told) in self.streams.iter().zip(&self.kept) {
                        self.queue.add(it.clone(), *told);
                    }
                }
                2 => {
                    let at = usize::try_from(self.chance(2)).unwrap();
                    self.writers[at] = self.writer(at);
                }
                _ => self.queue.begin(),
            },
            _ => {
                self.kept = self.streams.iter().map(|it| self.queue.told(it).unwrap()).collect();
            }
        }
    }

    /// The line is good again, until nothing is left to do.
    fn settle(&mut self) {
        self.up.clear();
        self.down.clear();
        self.queue.begin();
        for _ in 0..1000 {
            self.now += SECOND * 30;
            self.send();
            if self.up.is_empty() {
                return;
            }
            for message in std::mem::take(&mut self.up) {
                self.arrive(message);
            }
            for word in std::mem::take(&mut self.down) {
                self.hear(word);
            }
        }
        panic!("it does not come to an end");
    }

    /// What is stored and what is said to be missing are together what was written, byte for byte.
    fn check(&self) -> usize {
        let mut holes = 0;
        for (at, (task, container)) in self.streams.iter().enumerate() {
            let mut place = 0;
            let lines = Self::at_hub(self.dir.path()).open(task, container, Beginning::Start);
            for line in lines.unwrap() {
                let line = line.unwrap();
                let to = line.told.unwrap().to;
                if let Some(text) = line.log.strip_prefix("--- ") {
                    let lost = format!("{} bytes", to - place);
                    assert!(text.contains(&lost), "{lost}: {text}");
                    holes += 1;
                } else {
                    let number: usize = line.log.trim_end().parse().unwrap();
                    assert_eq!(self.places[at][number], (place, to), "line {number}");
                }
                place = to;
            }
            assert_eq!(place, self.end(at));
        }
        holes
    }
}

#[test]
fn whatever_happens_to_a_log_no_hole_is_silent() {
    let mut holes = 0;
    for seed in 0..25 {
        let mut story = Story::new(seed);
        for _ in 0..300 {
            story.step();
        }
        story.settle();
        holes += story.check();
    }
    assert!(holes > 8, "{holes} holes: the line was too good to prove anything");
}
