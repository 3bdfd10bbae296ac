//! Tables for people: no borders, as wide as the terminal, cells that may have a colour.

use comfy_table::{
    Attribute, Cell as RawCell, Color, ColumnConstraint, ContentArrangement, Table as RawTable,
    Width,
};

/// The narrowest terminal, in columns, that tables are fitted into.
const NARROWEST: u16 = 50;

/// A cell.
#[derive(Debug, Clone)]
pub(crate) struct Cell {
    text: String,
    color: Option<Color>,
}

impl Cell {
    /// A cell in this colour.
    pub(crate) fn colored(text: impl Into<String>, color: Color) -> Self {
        Self {
            text: clean(&text.into()),
            color: Some(color),
        }
    }
}

impl<T: AsRef<str>> From<T> for Cell {
    fn from(text: T) -> Self {
        Self {
            text: clean(text.as_ref()),
            color: None,
        }
    }
}

/// What a device sends must not move the cursor or recolour the terminal.
pub(crate) fn clean(text: &str) -> String {
    text.chars()
        .map(|c| match c {
            '\n' | '\r' | '\t' => ' ',
            c if c.is_control() => '\u{fffd}',
            c => c,
        })
        .collect()
}

/// A table, or a list of names with values where it has no header.
#[derive(Debug)]
pub(crate) struct Table {
    header: Vec<&'static str>,
    rows: Vec<Vec<Cell>>,
}

impl Table {
    /// With column titles.
    pub(crate) fn new<const N: usize>(header: [&'static str; N]) -> Self {
        Self {
            header: header.into(),
            rows: Vec::new(),
        }
    }

    /// Names and values of one thing.
    pub(crate) fn pairs() -> Self {
        Self::new([])
    }

    /// Adds a row.
    pub(crate) fn row<const N: usize>(&mut self, cells: [Cell; N]) {
        self.rows.push(cells.into());
    }

    /// Adds a name and a value, unless the value is empty.
    pub(crate) fn pair(&mut self, name: &str, value: impl Into<Cell>) {
        let value = value.into();
        if !value.text.is_empty() {
            self.rows.push(vec![name.into(), value]);
        }
    }

    /// Whether it has no rows.
    pub(crate) fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    /// As text, every line ended. Without a `width` no cell is broken.
    pub(crate) fn render(self, width: Option<u16>, color: bool) -> String {
        let mut table = RawTable::new();
        table.load_preset(comfy_table::presets::NOTHING);
        table.force_no_tty();
        // Below that, breaking cells only makes it worse.
        let width = width.filter(|width| *width >= NARROWEST);
        match width {
            Some(width) => {
                table.set_content_arrangement(ContentArrangement::Dynamic);
                table.set_width(width);
            }
            None => {
                table.set_content_arrangement(ContentArrangement::Disabled);
            }
        }
        if color {
            table.enforce_styling();
        }
        if !self.header.is_empty() {
            let cells = self
                .header
                .iter()
                .map(|title| RawCell::new(title).add_attribute(Attribute::Bold));
            table.set_header(cells);
        }
        let pairs = self.header.is_empty();
        for row in self.rows {
            let cells = row.into_iter().enumerate().map(|(index, cell)| {
                let raw = RawCell::new(cell.text);
                match cell.color {
                    Some(color) => raw.fg(color),
                    None if pairs && index == 0 => raw.fg(Color::DarkGrey),
                    None => raw,
                }
            });
            table.add_row(cells);
        }
        let last = table.column_count().saturating_sub(1);
        for (index, column) in table.column_iter_mut().enumerate() {
            // One blank on each side is the default: flush left, two between columns.
            column.set_padding((0, if index == last { 0 } else { 2 }));
            // Names are there to be copied: never broken.
            if index == 0 {
                column.set_constraint(match pairs {
                    true => ColumnConstraint::LowerBoundary(Width::Fixed(12)),
                    false => ColumnConstraint::ContentWidth,
                });
            }
        }
        let mut text = table.trim_fmt();
        text.push('\n');
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample() -> Table {
        let mut table = Table::new(["DEVICE", "STATE"]);
        table.row(["00AA11-X-1".into(), Cell::colored("online", Color::Green)]);
        table.row([
            "00AA11-Longer-22".into(),
            "a longer text that has to be broken".into(),
        ]);
        table
    }

    #[test]
    fn plain_tables_are_columns_without_borders() {
        assert_eq!(
            sample().render(None, false),
            "DEVICE            STATE\n\
             00AA11-X-1        online\n\
             00AA11-Longer-22  a longer text that has to be broken\n"
        );
    }

    #[test]
    fn narrow_terminals_break_cells() {
        let text = sample().render(Some(50), false);
        assert!(
            text.lines().all(|line| line.chars().count() <= 50),
            "{text}"
        );
        assert!(text.lines().count() > 3);
        assert!(text.contains("00AA11-Longer-22"));
        // Too narrow to be fitted.
        assert_eq!(sample().render(Some(0), false).lines().count(), 3);
    }

    #[test]
    fn colors_only_when_asked_for() {
        assert!(sample().render(None, true).contains("\u{1b}["));
        assert!(!sample().render(None, false).contains('\u{1b}'));
    }

    #[test]
    fn what_devices_send_can_not_steer_the_terminal() {
        assert_eq!(clean("a\u{1b}[31mb\nc"), "a\u{fffd}[31mb c");
    }
}
