//! Tables for people: no borders, as wide as the terminal, cells that may have a colour.

use comfy_table::{
    Attribute, Cell as RawCell, Color, ColumnConstraint, ContentArrangement, Table as RawTable,
    Width,
};

/// The narrowest that a column of free text is made, in characters.
const NARROWEST: usize = 12;
/// Blanks between columns.
const GAP: u16 = 2;

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
    /// Columns of free text, which may be broken; all others are there to be read or copied whole.
    flexible: &'static [usize],
}

impl Table {
    /// With column titles.
    pub(crate) fn new<const N: usize>(header: [&'static str; N]) -> Self {
        Self {
            header: header.into(),
            rows: Vec::new(),
            flexible: &[],
        }
    }

    /// Columns, from 0, that may be broken to fit into the terminal.
    pub(crate) fn flexible(self, flexible: &'static [usize]) -> Self {
        Self { flexible, ..self }
    }

    /// Names and values of one thing.
    pub(crate) fn pairs() -> Self {
        Self::new([]).flexible(&[1])
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

    /// Whether breaking free text makes it fit. If not, the terminal breaks whole lines, which at
    /// least can be copied.
    fn fits(&self, width: u16) -> bool {
        let columns = self.rows.iter().map(Vec::len).max().unwrap_or_default();
        let needed: usize = (0..columns)
            .map(|index| {
                let cells = self.rows.iter().filter_map(|row| row.get(index));
                let widest = cells.map(|cell| cell.text.chars().count()).max();
                let title = self.header.get(index).map_or(0, |title| title.len());
                let widest = widest.unwrap_or_default().max(title);
                let gap = if index + 1 == columns {
                    0
                } else {
                    usize::from(GAP)
                };
                gap + match self.flexible.contains(&index) {
                    true => widest.min(NARROWEST),
                    false => widest,
                }
            })
            .sum();
        needed <= usize::from(width)
    }

    /// As text, every line ended. Without a `width` no cell is broken.
    pub(crate) fn render(mut self, width: Option<u16>, color: bool) -> String {
        let mut table = RawTable::new();
        table.load_preset(comfy_table::presets::NOTHING);
        table.force_no_tty();
        let width = width.filter(|width| self.fits(*width));
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
        for row in std::mem::take(&mut self.rows) {
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
            column.set_padding((0, if index == last { 0 } else { GAP }));
            if !self.flexible.contains(&index) {
                column.set_constraint(ColumnConstraint::ContentWidth);
            }
            if pairs && index == 0 {
                column.set_constraint(ColumnConstraint::LowerBoundary(Width::Fixed(12)));
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
        let mut table = Table::new(["DEVICE", "STATE"]).flexible(&[1]);
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
        assert_eq!(
            sample().render(Some(40), false),
            "DEVICE            STATE\n\
             00AA11-X-1        online\n\
             00AA11-Longer-22  a longer text that has\n                  to be broken\n"
        );
        // Too narrow to be fitted.
        assert_eq!(
            sample().render(Some(25), false),
            sample().render(None, false)
        );
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
