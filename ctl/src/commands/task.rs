//! `hearthctl task`.

use crate::{
    api::all_pages,
    app::App,
    cli::{StateArg, TaskCommand},
    error::{Error, id_of},
    resolve, show, times,
};
use hearth_proto::{northbound::v1 as nb, types::v1::TaskState};
use std::time::Duration;

/// Runs one command.
pub(crate) async fn run(command: TaskCommand, app: &mut App<'_>) -> Result<(), Error> {
    match command {
        TaskCommand::List {
            device,
            state,
            open,
            limit,
        } => {
            list(
                app,
                device,
                if open { StateArg::OPEN.into() } else { state },
                limit,
            )
            .await
        }
        TaskCommand::Get { task } => {
            let task = get(app, &task).await?;
            app.print_task(&task)
        }
        TaskCommand::Why { task } => super::explain::task(app, &task).await,
        TaskCommand::Watch { task, wait_timeout } => {
            watch(app, &task, wait_timeout.unwrap_or_default()).await
        }
        TaskCommand::Cancel { tasks } => cancel(app, &tasks).await,
        TaskCommand::Retry {
            task,
            no_wait,
            wait_timeout,
        } => {
            let api = app.api().await?;
            let name = api.name("tasks", &task)?;
            let request = nb::RetryTaskRequest { name };
            let answer = api.answer(api.tasks().retry_task(request)).await?;
            let task = answer.task.unwrap_or_default();
            let task = app.finish(&api, task, no_wait, wait_timeout).await?;
            match task {
                Some(task) => app.print_task(&task),
                None => Ok(()),
            }
        }
    }
}

async fn get(app: &mut App<'_>, task: &str) -> Result<nb::Task, Error> {
    let api = app.api().await?;
    let name = api.name("tasks", task)?;
    let request = nb::GetTaskRequest { name };
    let answer = api.answer(api.tasks().get_task(request)).await?;
    Ok(answer.task.unwrap_or_default())
}

async fn list(
    app: &mut App<'_>,
    device: Option<String>,
    states: Vec<StateArg>,
    limit: usize,
) -> Result<(), Error> {
    let api = app.api().await?;
    let parent = match device {
        Some(device) => resolve::device(&api, &device, true).await?.name,
        None => api.tenant_name(),
    };
    let states: Vec<i32> = states
        .into_iter()
        .map(|state| TaskState::from(state).into())
        .collect();
    let (tasks, more) = all_pages(limit, 1000, |page_size, page_token| {
        let request = nb::ListTasksRequest {
            parent: parent.clone(),
            page_size,
            page_token,
            states: states.clone(),
        };
        let api = &api;
        async move {
            let page = api.answer(api.tasks().list_tasks(request)).await?;
            Ok((page.tasks, page.next_page_token))
        }
    })
    .await?;
    app.print(&tasks, |app, tasks| show::tasks(app, tasks))?;
    app.more(more, limit);
    Ok(())
}

/// Prints each change, as it comes.
async fn watch(app: &mut App<'_>, task: &str, wait: Duration) -> Result<(), Error> {
    let first = get(app, task).await?;
    let api = app.api().await?;
    let mut last = None;
    let mut on_change = |app: &mut App<'_>, task: &nb::Task| {
        let key = (task.state, task.reason.clone(), task.attempts.len());
        if last.as_ref() == Some(&key) {
            return Ok(());
        }
        last = Some(key);
        app.print_line(task, |app, task| {
            let time = task.update_time.as_ref().or(task.create_time.as_ref());
            let time = times::clock(time, &app.host.zone);
            let line = format!("{time}  {:18}  {}", task.state().label(), task.reason);
            app.say(crate::table::clean(line.trim_end()))
        })
    };
    on_change(app, &first)?;
    app.follow(&api, first, wait, |app, task, _| on_change(app, task))
        .await?;
    Ok(())
}

async fn cancel(app: &mut App<'_>, tasks: &[String]) -> Result<(), Error> {
    let api = app.api().await?;
    let mut cancelled = Vec::new();
    let mut failure = None;
    for task in tasks {
        let name = api.name("tasks", task)?;
        let request = nb::CancelTaskRequest { name };
        match api.answer(api.tasks().cancel_task(request)).await {
            Ok(answer) => cancelled.extend(answer.task),
            Err(error) => {
                // The others are cancelled all the same; the first failure is the result.
                if tasks.len() > 1 {
                    app.note(&format!("{task}: {error}"));
                }
                failure.get_or_insert(error);
            }
        }
    }
    app.print(&cancelled, |app, cancelled| {
        cancelled
            .iter()
            .try_for_each(|task| app.say(format!("{} {}", id_of(&task.name), task.state().label())))
    })?;
    match failure {
        Some(error) => Err(error),
        None => Ok(()),
    }
}
