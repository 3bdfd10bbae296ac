//! What happens on the stage while something is broken: a fleet, the work it is given, and what
//! was acknowledged. The same for one server and for an installation of many parts.

use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};

use super::api::Api;
use super::book::Book;
use super::evidence::{self, Evidence, Truth};
use super::fleet::{self, Life, Login};
use super::plan::Planner;
use super::work::{Pace, Work};
use crate::{Dice, Fleet};

/// What a scene is like.
#[derive(Clone, Debug)]
pub struct SceneOptions {
    /// Devices that tasks are made for.
    pub devices: usize,
    /// Well-behaved devices besides, the last of the fleet, that no tasks are made for.
    pub canaries: usize,
    /// How the devices live.
    pub life: Life,
    /// How much is asked of them.
    pub pace: Pace,
    /// Time that a task has.
    pub deadline: Duration,
    /// How long may pass until every device has informed.
    pub patience: Duration,
}

/// A scene that plays.
pub struct Scene {
    /// The devices.
    pub fleet: Arc<Fleet>,
    /// What is asked of them, and what was acknowledged of it.
    pub work: Arc<Work>,
    deadline: Duration,
    patience: Duration,
}

impl Scene {
    /// Starts the fleet, waits until every device has informed, and begins the work.
    ///
    /// # Errors
    /// When the devices can't inform.
    pub async fn start(
        api: Api,
        login: &Login,
        options: &SceneOptions,
        dice: &mut Dice,
    ) -> Result<Self> {
        let (tasked, more) = (options.devices, options.canaries);
        let seed = dice.number();
        let fleet = fleet::start(login, tasked, more, &options.life, seed).await?;
        let fleet = Arc::new(fleet);
        fleet::informed(&fleet, options.patience).await?;
        let (mut targets, names) = fleet::targets(&fleet)?;
        targets.truncate(tasked);
        let (deadline, pace) = (options.deadline, options.pace);
        let planner = Planner::new(Dice::new(dice.number()), targets, deadline);
        let work = Work::start(api, fleet.clone(), names, planner, pace, deadline, dice);
        Ok(Self {
            fleet,
            work,
            deadline,
            patience: options.patience,
        })
    }

    /// Begins nothing new, waits until every task has ended and every device has informed once
    /// more. Answers what went wrong with that.
    pub async fn settle(&self) -> Vec<String> {
        self.work.finish(self.patience / 2).await;
        let until = Instant::now() + self.deadline + Duration::from_secs(30);
        let mut shown = Instant::now();
        loop {
            let open = self.work.book.lock().pending();
            if open == 0 || Instant::now() > until {
                println!("settled with {open} tasks open");
                break;
            }
            if shown.elapsed() > Duration::from_secs(5) {
                shown = Instant::now();
                println!("waiting for {open} tasks to end");
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        self.work.stop().await;
        let mut accidents = Vec::new();
        if !fleet::settle(&self.fleet, self.patience / 2).await {
            accidents.push("not every device could inform in peace at the end".to_owned());
        }
        accidents
    }

    /// Takes what was acknowledged.
    pub fn book(&self) -> Book {
        std::mem::take(&mut *self.work.book.lock())
    }

    /// Gathers what there is to know, from the devices and from the server.
    ///
    /// # Errors
    /// When the API doesn't answer.
    pub async fn gather(&self, book: &Book) -> Result<Evidence> {
        let (targets, names) = fleet::targets(&self.fleet)?;
        let devices = self.fleet.devices().iter().zip(&names).zip(&targets);
        let truth = devices.map(|((device, name), target)| Truth::of(device, name, target));
        evidence::gather(&self.work.api, truth.collect(), book).await
    }
}

/// Asks the API what devices log in with, and says what they are to be asked to connect with.
///
/// # Errors
/// When the API doesn't answer.
pub async fn login(api: &Api, acs: String, dice: &mut Dice) -> Result<Login> {
    let (username, password) = api
        .onboarding()
        .await
        .context("the onboarding credential")?;
    let login = Login {
        acs,
        username,
        password,
        request_username: "kill-test".to_owned(),
        request_password: format!("{:016x}", dice.number()),
    };
    let (user, secret) = (&login.request_username, &login.request_password);
    api.set_connection_request(user, secret)
        .await
        .context("the connection-request credential")?;
    Ok(login)
}
