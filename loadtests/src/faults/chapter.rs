//! One fault, again and again, under a fleet of its own: what it does to the edge, how long until
//! all is well again, and whether anything was lost.

use std::collections::BTreeSet;
use std::ops::RangeInclusive;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use anyhow::{Context as _, Result};

use super::FaultOptions;
use super::catalogue::{ALL, Fault, Kind};
use super::proxy::belongs;
use super::report::{self, HERD, Latencies, Occurrence, Row, Spread};
use super::subject::{Action, Subject};
use super::watch::{Song, Watch};
use crate::kill::api::Api;
use crate::kill::evidence::{self, Evidence};
use crate::kill::fleet::{self, Login};
use crate::kill::report as tallies;
use crate::kill::report::millis;
use crate::kill::scene::{Scene, SceneOptions};
use crate::kill::verify::{self, Verdict};
use crate::{Dice, EdgeCounts};

/// No request failed for so long: the edge is well again.
const QUIET: Duration = Duration::from_secs(5);
/// How often is looked whether it is well again.
const LOOK: Duration = Duration::from_millis(100);
/// After so many faults in a row that it did not recover from, further ones would show nothing.
const GIVE_UP: usize = 3;
/// Pauses before what was acknowledged is looked at: a replica may be behind with what another one
/// has. The last one comes again while less is missing each time.
const SETTLING: [Duration; 3] = [
    Duration::from_secs(2),
    Duration::from_secs(10),
    Duration::from_secs(30),
];
/// How long the servers may be behind with the events when all is over.
const BEHIND: Duration = Duration::from_secs(600);

/// A time in which something was broken.
struct Window {
    begin: SystemTime,
    end: SystemTime,
    /// The same moments.
    instants: RangeInclusive<Instant>,
    edge: EdgeCounts,
}

/// A chapter that runs.
pub struct Chapter<'a, S> {
    subject: &'a mut S,
    faults: &'a [Fault],
    /// The one that happens now.
    fault: Fault,
    options: &'a FaultOptions,
    api: Api,
    scene: Scene,
    watch: Arc<Watch>,
    begun: Instant,
    occurrences: Vec<Occurrence>,
    windows: Vec<Window>,
    accidents: Vec<String>,
    preloaded: u64,
    /// Requests of devices in [`HERD`] before anything was broken.
    requests_calm: u64,
}

/// Runs one: of these faults, one after the other, each so often. `others` are the ids of all tasks that were made before, and get this chapter's too.
///
/// # Errors
/// When it can't be carried out.
pub async fn run<S: Subject>(
    subject: &mut S,
    faults: &[Fault],
    (api, login): (&Api, &Login),
    scene: &SceneOptions,
    options: &FaultOptions,
    others: &mut BTreeSet<String>,
    seed: u64,
) -> Result<Row> {
    let mut dice = Dice::new(seed);
    let preloaded = evidence::count_devices(api).await.context("CountDevices")?;
    let edge_begun = Instant::now();
    let playing = Scene::start(api.clone(), login, scene, &mut dice).await?;
    println!(
        "{}: {} devices have informed after {:.0} s",
        name_of(faults),
        playing.fleet.devices().len(),
        edge_begun.elapsed().as_secs_f64()
    );
    let (targets, names) = fleet::targets(&playing.fleet)?;
    let canaries = targets.iter().zip(&names).skip(scene.devices);
    let canaries = canaries.map(|(target, name)| {
        let path = format!("{}DeviceInfo.SerialNumber", target.root);
        (name.clone(), path)
    });
    let watch = Watch::start(playing.fleet.clone(), api, canaries.collect());
    let mut chapter = Chapter {
        subject,
        faults,
        fault: faults.first().context("no fault")?.clone(),
        options,
        api: api.clone(),
        scene: playing,
        watch,
        begun: Instant::now(),
        occurrences: Vec::new(),
        windows: Vec::new(),
        accidents: Vec::new(),
        preloaded,
        requests_calm: 0,
    };
    chapter.calm().await;
    chapter.times(&mut dice).await?;
    chapter.end(others, &mut dice).await
}

impl<S: Subject> Chapter<'_, S> {
    /// Before the first fault: what is usual.
    async fn calm(&mut self) {
        let (before, begun) = (self.watch.edge(), Instant::now());
        tokio::time::sleep(self.options.calm).await;
        let seconds = begun.elapsed().as_secs_f64();
        if !self.options.calm.is_zero() {
            let requests = self.watch.edge().since(&before).all() as f64;
            self.requests_calm = (requests / seconds * HERD.as_secs_f64()).round() as u64;
        }
    }

    /// Under load, at random moments.
    async fn times(&mut self, dice: &mut Dice) -> Result<()> {
        let mut lasting = 0;
        // In each round another order: what one fault leaves behind meets another one.
        let mut faults = Vec::new();
        for _ in 0..self.options.times {
            let mut round = self.faults.to_vec();
            round.sort_by_cached_key(|_| dice.number());
            faults.append(&mut round);
        }
        for (number, fault) in (1..).zip(faults) {
            self.fault = fault;
            tokio::time::sleep(dice.between(Duration::ZERO, self.options.gap)).await;
            let well = self.once(number, dice).await?;
            lasting = if well { 0 } else { lasting + 1 };
            if lasting == GIVE_UP {
                self.accidents
                    .push(format!("not well again {GIVE_UP} times in a row: given up"));
                break;
            }
        }
        Ok(())
    }

    /// The members that it happens to this time: one by chance, the primary where there is one, or
    /// all in turn.
    async fn chosen(&mut self, dice: &mut Dice) -> Vec<String> {
        let members = self.subject.members();
        if self.fault.group == ALL {
            return members;
        }
        let of_group = |name: &&String| belongs(name, &self.fault.group);
        let members: Vec<_> = members.iter().filter(of_group).cloned().collect();
        if self.fault.kind.is_link() {
            return vec![self.fault.group.clone()];
        }
        if self.fault.kind == Kind::Restart {
            return members;
        }
        if let Some(primary) = self.subject.primary(&members).await {
            return vec![primary];
        }
        // The disk of one of three would not be missed.
        if self.fault.kind == Kind::Full {
            return members;
        }
        let at = dice.number().checked_rem(members.len() as u64);
        let one = at.and_then(|at| members.get(at as usize)).cloned();
        one.into_iter().collect()
    }

    /// The fault happens once; true if all was well again within the limit.
    async fn once(&mut self, number: u32, dice: &mut Dice) -> Result<bool> {
        let members = self.chosen(dice).await;
        let open = self.scene.work.book.lock().open.len();
        let (begin, since) = (Instant::now(), SystemTime::now());
        let edge = self.watch.edge();
        match self.fault.kind {
            // One after the other, so that the others carry on.
            Kind::Restart => {
                for member in &members {
                    self.happen(std::slice::from_ref(member)).await?;
                    self.ready().await;
                }
            }
            _ => self.happen(&members).await?,
        }
        let (end, at_end) = (Instant::now(), self.watch.edge());
        let watch = self.watch.clone();
        let herd = async {
            tokio::time::sleep(HERD).await;
            watch.edge().since(&at_end).all()
        };
        let from = match self.fault.counts_from_its_end() {
            true => end,
            false => begin,
        };
        let (recovered, requests_after) = tokio::join!(self.recovered(from, end), herd);
        let edge = self.watch.edge().since(&edge);
        let well_at = recovered.unwrap_or_else(Instant::now);
        self.windows.push(Window {
            begin: since,
            end: since + well_at.duration_since(begin),
            instants: begin..=well_at,
            edge,
        });
        let mut occurrence = Occurrence {
            fault: self.fault.name(),
            number,
            member: match members.len() {
                1 => members.concat(),
                _ => ALL.to_owned(),
            },
            at_ms: millis(begin - self.begun),
            broken_ms: millis(end - begin),
            open,
            edge,
            recovered_ms: recovered.map(|at| millis(at.saturating_duration_since(from))),
            requests_after,
            requests_calm: self.requests_calm,
            ..Occurrence::default()
        };
        heard(&mut occurrence, self.songs_of(self.windows.len() - 1));
        println!("{}", occurrence.line());
        let well = occurrence.recovered_ms.is_some();
        if !well {
            let limit = self.options.limit.as_secs();
            let member = &occurrence.member;
            self.accidents.push(format!(
                "{} {number} ({member}): not well again within {limit} s",
                self.fault.name()
            ));
        }
        self.occurrences.push(occurrence);
        Ok(well)
    }

    /// To all of these at once.
    async fn happen(&mut self, members: &[String]) -> Result<()> {
        let steps = members.iter();
        let steps: Vec<_> = steps
            .map(|member| self.fault.steps(member, &self.options.lasting))
            .collect();
        for step in &steps {
            self.act(&step.begin).await?;
        }
        let hold = steps.iter().map(|step| step.hold).max();
        tokio::time::sleep(hold.unwrap_or_default()).await;
        for end in Action::together(steps.into_iter().filter_map(|step| step.end)) {
            self.act(&end).await?;
        }
        Ok(())
    }

    async fn act(&mut self, action: &Action) -> Result<()> {
        let done = self.subject.act(action).await;
        done.with_context(|| format!("{action:?}"))
    }

    /// Waits until every member is ready, within the limit.
    async fn ready(&mut self) {
        let until = Instant::now() + self.options.limit;
        while !self.subject.ready().await && Instant::now() < until {
            tokio::time::sleep(LOOK).await;
        }
    }

    /// Waits until all is well again: no request of a device has failed for five seconds, a task
    /// made after the fault's end is done, every member is ready. Answers since when.
    async fn recovered(&mut self, from: Instant, end: Instant) -> Option<Instant> {
        let mut ready_since: Option<Instant> = None;
        while end.elapsed() < self.options.limit {
            ready_since = match self.subject.ready().await {
                true => ready_since.or_else(|| Some(Instant::now())),
                false => None,
            };
            let error = self.watch.last_error().filter(|at| *at >= from);
            let quiet_since = error.unwrap_or(from).max(end);
            let quiet = quiet_since.elapsed() >= QUIET
                && self.watch.last_good().is_some_and(|at| at > quiet_since);
            if let (Some(ready), Some(sang), true) =
                (ready_since, self.watch.sang_after(end), quiet)
            {
                return Some(error.unwrap_or(from).max(sang).max(ready).max(from));
            }
            tokio::time::sleep(LOOK).await;
        }
        None
    }

    /// The canaries' tasks that are charged to a fault, by its place.
    fn songs_of(&self, place: usize) -> Vec<Song> {
        let mut songs = self.watch.songs();
        songs.retain(|song| charged(&self.windows, song) == Some(place));
        songs
    }

    /// Some of the canaries' tasks have ended long after the fault in which they were made.
    fn sung(&mut self) {
        for place in 0..self.occurrences.len() {
            let songs = self.songs_of(place);
            heard(&mut self.occurrences[place], songs);
        }
    }

    /// Lets the work end, has the fault happen once more right then, and verifies.
    async fn end(mut self, others: &mut BTreeSet<String>, dice: &mut Dice) -> Result<Row> {
        let settled = self.scene.settle().await;
        self.accidents.extend(settled);
        let number = u32::try_from(self.occurrences.len()).unwrap_or(0) + 1;
        self.once(number, dice).await?;
        let (canaries, trouble) = self.watch.stop(self.options.limit).await;
        self.accidents.extend(trouble);
        self.sung();
        let edge = self.scene.fleet.edge();
        self.scene.fleet.stop().await;
        self.accidents.extend(self.subject.accidents().await);
        let doubled = self.scene.fleet.doubled().len();
        others.extend(canaries);
        let book = self.scene.book();
        let mut last = (Evidence::default(), Verdict::default());
        let (begun, mut least) = (Instant::now(), usize::MAX);
        let [.., again] = SETTLING;
        for wait in SETTLING.into_iter().chain(std::iter::repeat(again)) {
            tokio::time::sleep(wait).await;
            let mut evidence = self.scene.gather(&book).await?;
            evidence.others.clone_from(others);
            evidence.preloaded = self.preloaded;
            evidence.accidents.clone_from(&self.accidents);
            let verdict = verify::verify(&evidence);
            // These stay as they are; everything else a replica may only be behind with.
            let lasting = ["server failed", "request refused"];
            let passed = verdict
                .violations
                .iter()
                .all(|violation| lasting.contains(&violation.rule));
            let left = verdict.violations.len();
            last = (evidence, verdict);
            let is_catching_up = left < std::mem::replace(&mut least, left);
            if passed || wait == again && (!is_catching_up || begun.elapsed() > BEHIND) {
                break;
            }
            println!("{}: {left} violations; looking again", name_of(self.faults));
        }
        let (evidence, verdict) = last;
        // Whatever is listed is no longer news to the next chapter.
        others.extend(evidence.listed.iter().cloned());
        others.extend(evidence::list_tasks(&self.api).await?);
        Ok(self.row(evidence, verdict, edge, book.repeated, doubled))
    }

    fn row(
        self,
        evidence: Evidence,
        verdict: Verdict,
        edge: EdgeCounts,
        repeated_creates: usize,
        doubled: usize,
    ) -> Row {
        let broken = self
            .windows
            .iter()
            .fold(EdgeCounts::default(), |sum, window| sum.plus(&window.edge));
        let windows: Vec<_> = self.windows.iter().map(|w| (w.begin, w.end)).collect();
        let (calm_tasks, broken_tasks) = report::latencies(&evidence, &windows);
        let recovered: Vec<_> = self
            .occurrences
            .iter()
            .filter_map(|occurrence| occurrence.recovered_ms)
            .collect();
        Row {
            fault: name_of(self.faults),
            seed: 0,
            times: self.occurrences.len(),
            devices: self.scene.fleet.devices().len(),
            seconds: self.begun.elapsed().as_secs_f64(),
            recovered: Spread::of(recovered),
            error_share: report::share(&broken),
            edge: broken,
            calm_edge: edge.since(&broken),
            calm_tasks: Latencies::of(calm_tasks),
            broken_tasks: Latencies::of(broken_tasks),
            tasks: report::owned(tallies::tally(&evidence)),
            interrupted: tallies::interrupted(&evidence)
                .into_iter()
                .map(|(kind, count)| (kind.to_owned(), count))
                .collect(),
            repeated_creates,
            unknown_outcomes: tallies::unknown(&evidence),
            doubled,
            looked: report::Looks::of(&verdict.looked),
            violations: verdict.violations.iter().map(report::Breach::of).collect(),
            occurrences: self.occurrences,
            not_run: None,
        }
    }
}

/// Which fault a canary's task is charged to: that in which it was made, or else the first that came
/// upon it.
fn charged(windows: &[Window], song: &Song) -> Option<usize> {
    let made_in = |window: &Window| window.instants.contains(&song.made);
    let met = |window: &Window| {
        let begin = *window.instants.start();
        song.made < begin && begin < song.ended
    };
    let place = windows.iter().rposition(made_in);
    place.or_else(|| windows.iter().position(met))
}

/// What the canaries' tasks say of it.
fn heard(occurrence: &mut Occurrence, songs: Vec<Song>) {
    occurrence.canaries = songs.len();
    if let Some(slowest) = songs.into_iter().max_by_key(|song| song.ended - song.made) {
        occurrence.slowest_canary_ms = millis(slowest.ended - slowest.made);
        occurrence.slowest_canary_told = slowest.told;
    }
}

/// What a chapter of these faults is called.
pub fn name_of(faults: &[Fault]) -> String {
    match faults {
        [one] => one.name(),
        all => format!("{} together", all.len()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_canary_is_charged_to_the_fault_that_made_it_wait() {
        let (start, now) = (Instant::now(), SystemTime::now());
        let at = |seconds| start + Duration::from_secs(seconds);
        let windows = [(10, 20), (30, 40), (50, 60)].map(|(from, to)| Window {
            begin: now,
            end: now,
            instants: at(from)..=at(to),
            edge: EdgeCounts::default(),
        });
        let charged_to = |made, ended| {
            let song = Song {
                made: at(made),
                ended: at(ended),
                well: true,
                told: String::new(),
            };
            charged(&windows, &song)
        };
        assert_eq!(charged_to(1, 5), None, "in peace");
        assert_eq!(charged_to(22, 24), None, "in peace");
        assert_eq!(charged_to(1, 12), Some(0), "it came upon it");
        assert_eq!(charged_to(22, 55), Some(1), "the first that came upon it");
        assert_eq!(charged_to(15, 55), Some(0), "made in it");
        assert_eq!(charged_to(40, 41), Some(1), "made in it");
    }
}
