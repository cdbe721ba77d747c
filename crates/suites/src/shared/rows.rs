//! Tables that users bring: CSV and Parquet.

use parquet::file::reader::{FileReader, SerializedFileReader};
use parquet::record::Field;
use parquet::schema::types::Type;
use std::fs::File;
use std::io::Read;
use std::path::Path;
use std::sync::Arc;

/// Rows of text under a header.
#[derive(Debug)]
pub(crate) struct Rows {
    header: Vec<String>,
    rows: Vec<Vec<String>>,
}

/// What every Parquet file begins with.
const PARQUET: &[u8; 4] = b"PAR1";

impl Rows {
    /// The rows of a file. Of a Parquet file only the columns that are wanted are read, of those that it has.
    pub fn of_file(path: &Path, wanted: &[&str]) -> Result<Self, String> {
        let mut file = File::open(path).map_err(|error| error.to_string())?;
        let mut start = Vec::new();
        let of_start = (&mut file).take(PARQUET.len() as u64);
        let read = of_start.take(4).read_to_end(&mut start);
        read.map_err(|error| error.to_string())?;
        if start == PARQUET {
            return Self::of_parquet(file, wanted).map_err(|error| error.to_string());
        }
        let bytes = std::fs::read(path).map_err(|error| error.to_string())?;
        let text = String::from_utf8(bytes);
        let text = text.map_err(|_| "it is not UTF-8: save it as UTF-8".to_owned())?;
        let text = text.trim_start_matches('\u{feff}');
        if text.trim().is_empty() {
            return Err("it is empty".to_owned());
        }
        Self::of_csv(text)
    }

    /// The rows of a CSV.
    pub fn of_csv(text: &str) -> Result<Self, String> {
        let mut reader = csv::ReaderBuilder::new().from_reader(text.as_bytes());
        let header = reader.headers().map_err(|error| error.to_string())?;
        let header = header.iter().map(|name| name.trim().to_owned()).collect();
        let mut rows = Vec::new();
        for record in reader.records() {
            let record = record.map_err(|error| error.to_string())?;
            rows.push(record.iter().map(|cell| cell.trim().to_owned()).collect());
        }
        Ok(Self { header, rows })
    }

    fn of_parquet(file: File, wanted: &[&str]) -> Result<Self, parquet::errors::ParquetError> {
        let reader = SerializedFileReader::new(file)?;
        let schema = reader.metadata().file_metadata().schema();
        let all: Vec<String> = schema
            .get_fields()
            .iter()
            .map(|field| field.name().to_owned())
            .collect();
        let is_wanted = |field: &&Arc<Type>| {
            let is = |name: &&str| field.name().eq_ignore_ascii_case(name);
            field.is_primitive() && wanted.iter().any(is)
        };
        let fields: Vec<Arc<Type>> = schema
            .get_fields()
            .iter()
            .filter(is_wanted)
            .cloned()
            .collect();
        if fields.is_empty() {
            // What is missing is said by the names of what is there.
            return Ok(Self {
                header: all,
                rows: Vec::new(),
            });
        }
        let header = fields.iter().map(|field| field.name().to_owned()).collect();
        let chosen = Type::group_type_builder(schema.name()).with_fields(fields);
        let mut rows = Vec::new();
        for row in reader.get_row_iter(Some(chosen.build()?))? {
            let row = row?;
            let cells = row.get_column_iter().map(|(_, field)| match field {
                Field::Null => String::new(),
                Field::Str(text) => text.trim().to_owned(),
                other => other.to_string(),
            });
            rows.push(cells.collect());
        }
        Ok(Self { header, rows })
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.rows.len()
    }

    /// The number of a column.
    pub fn column(&self, name: &str) -> Option<usize> {
        let is = |found: &String| found.eq_ignore_ascii_case(name);
        self.header.iter().position(is)
    }

    /// The number of a column that there must be; in words, what it may be called.
    pub fn needed(&self, name: &str, called: &str) -> Result<usize, String> {
        self.column(name).ok_or_else(|| self.missing(called))
    }

    /// The first column that is none of these.
    pub fn unknown(&self, known: &[&str]) -> Option<&str> {
        let is_known = |name: &&String| known.iter().any(|known| name.eq_ignore_ascii_case(known));
        self.header
            .iter()
            .find(|name| !is_known(name))
            .map(String::as_str)
    }

    /// That a column is missing, and which there are.
    pub fn missing(&self, called: &str) -> String {
        format!(
            "it has no column {called}; its columns are {}",
            self.header.join(", ")
        )
    }

    /// What stands in a row and column; nothing where it is empty.
    pub fn cell(&self, row: usize, column: Option<usize>) -> Option<&str> {
        let cell = self.rows.get(row)?.get(column?)?;
        (!cell.is_empty()).then_some(cell.as_str())
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::Rows;
    use parquet::data_type::{ByteArray, ByteArrayType, Int64Type};
    use parquet::file::properties::WriterProperties;
    use parquet::file::writer::SerializedFileWriter;
    use parquet::schema::parser::parse_message_type;
    use std::path::Path;
    use std::sync::Arc;

    /// A Parquet file with a column of numbers beside columns of texts.
    pub fn write_parquet(path: &Path, names: &[&str], rows: &[&[&str]]) {
        let columns: Vec<String> = names
            .iter()
            .map(|name| format!("optional binary {name} (STRING);"))
            .collect();
        let schema = format!("message m {{ required int64 rank; {} }}", columns.concat());
        let schema = Arc::new(parse_message_type(&schema).unwrap());
        let properties = Arc::new(WriterProperties::builder().build());
        let file = std::fs::File::create(path).unwrap();
        let mut writer = SerializedFileWriter::new(file, schema, properties).unwrap();
        let mut group = writer.next_row_group().unwrap();
        let mut column = group.next_column().unwrap().unwrap();
        let ranks: Vec<i64> = (0..).take(rows.len()).collect();
        column
            .typed::<Int64Type>()
            .write_batch(&ranks, None, None)
            .unwrap();
        column.close().unwrap();
        for at in 0..names.len() {
            let mut column = group.next_column().unwrap().unwrap();
            let present: Vec<&str> = rows
                .iter()
                .map(|row| row[at])
                .filter(|cell| !cell.is_empty())
                .collect();
            let values: Vec<ByteArray> = present.into_iter().map(ByteArray::from).collect();
            let levels: Vec<i16> = rows
                .iter()
                .map(|row| i16::from(!row[at].is_empty()))
                .collect();
            column
                .typed::<ByteArrayType>()
                .write_batch(&values, Some(&levels), None)
                .unwrap();
            column.close().unwrap();
        }
        group.close().unwrap();
        writer.close().unwrap();
    }

    #[test]
    fn both_forms_are_read_alike() {
        let folder = tempfile::tempdir().unwrap();
        let (csv, parquet) = (folder.path().join("a"), folder.path().join("b"));
        std::fs::write(&csv, "rank,query,topic\n0, What? ,x\n1,Why?,\n").unwrap();
        write_parquet(
            &parquet,
            &["query", "topic"],
            &[&["What?", "x"], &["Why?", ""]],
        );
        for path in [&csv, &parquet] {
            let rows = Rows::of_file(path, &["query", "topic", "Rank", "nowhere"]).unwrap();
            assert_eq!(rows.len(), 2);
            let of = |row: usize, name: &str| rows.cell(row, rows.column(name));
            assert_eq!(
                (of(0, "query"), of(1, "Query"), of(1, "topic")),
                (Some("What?"), Some("Why?"), None)
            );
            assert_eq!((of(1, "rank"), of(0, "nowhere")), (Some("1"), None));
            let missing = rows.needed("nowhere", "`nowhere`").unwrap_err();
            assert!(
                missing.contains("no column `nowhere`; its columns are rank, query"),
                "{missing}"
            );
        }
        std::fs::write(&parquet, b"PAR1 and nothing more").unwrap();
        assert!(Rows::of_file(&parquet, &["query"]).is_err());
        write_parquet(&parquet, &["other"], &[&["x"]]);
        let rows = Rows::of_file(&parquet, &["query"]).unwrap();
        assert!(rows.missing("`query`").ends_with("rank, other"));
    }
}
