//! Tables as Parquet: typed columns, any of which may miss values.

use concord_findings::{Cell, Column, ColumnType, LongTable};
use parquet::basic::{Compression, LogicalType, Repetition, Type as Physical};
use parquet::data_type::{BoolType, ByteArray, ByteArrayType, DataType, DoubleType, Int64Type};
use parquet::errors::ParquetError;
use parquet::file::metadata::KeyValue;
use parquet::file::properties::WriterProperties;
use parquet::file::writer::{SerializedFileWriter, SerializedRowGroupWriter};
use parquet::schema::types::{Type, TypePtr};
use std::io::{Error, ErrorKind, Write};
use std::sync::Arc;

/// Rows that are written together.
const ROWS_OF_A_GROUP: usize = 1 << 17;

/// Writes a table, and what is to be known of it as pairs of key and value.
///
/// # Errors
/// Those of the writer, and where a cell is not what its column says.
pub(crate) fn write_parquet(
    table: &LongTable,
    known: &[(&str, String)],
    out: &mut (impl Write + Send),
) -> Result<(), Error> {
    if let Some((column, row)) = table.misfit() {
        let message = format!("row {row} of `{}` has no {column}", table.name);
        return Err(Error::new(ErrorKind::InvalidData, message));
    }
    write(table, known, out).map_err(|error| match error {
        ParquetError::External(source) => Error::other(source),
        error => Error::other(error),
    })
}

fn write(
    table: &LongTable,
    known: &[(&str, String)],
    out: &mut (impl Write + Send),
) -> Result<(), ParquetError> {
    let known = known
        .iter()
        .map(|(key, value)| KeyValue::new((*key).to_owned(), value.clone()));
    let properties = WriterProperties::builder()
        .set_compression(Compression::SNAPPY)
        .set_created_by(format!("concord {}", env!("CARGO_PKG_VERSION")))
        .set_key_value_metadata(Some(known.collect()))
        .build();
    let mut writer = SerializedFileWriter::new(out, schema(table)?, Arc::new(properties))?;
    for rows in table.rows.chunks(ROWS_OF_A_GROUP) {
        let mut group = writer.next_row_group()?;
        for (place, column) in table.columns.iter().enumerate() {
            let cells = || {
                rows.iter()
                    .map(|row| row.get(place).unwrap_or(&Cell::Missing))
            };
            let group = &mut group;
            match column.kind {
                ColumnType::String => {
                    write_column::<ByteArrayType>(group, cells(), |cell| match cell {
                        Cell::Text(text) => Some(ByteArray::from(&**text)),
                        _ => None,
                    })
                }
                ColumnType::Float => {
                    write_column::<DoubleType>(group, cells(), |cell| match cell {
                        Cell::Number(number) => Some(*number).filter(|number| number.is_finite()),
                        _ => None,
                    })
                }
                ColumnType::Integer => {
                    write_column::<Int64Type>(group, cells(), |cell| match cell {
                        Cell::Count(count) => i64::try_from(*count).ok(),
                        _ => None,
                    })
                }
                ColumnType::Boolean => {
                    write_column::<BoolType>(group, cells(), |cell| match cell {
                        Cell::Truth(truth) => Some(*truth),
                        _ => None,
                    })
                }
            }?;
        }
        group.close()?;
    }
    writer.close()?;
    Ok(())
}

fn schema(table: &LongTable) -> Result<TypePtr, ParquetError> {
    let fields = table.columns.iter().map(field);
    let schema = Type::group_type_builder(table.name)
        .with_fields(fields.collect::<Result<_, _>>()?)
        .build()?;
    Ok(Arc::new(schema))
}

fn field(column: &Column) -> Result<TypePtr, ParquetError> {
    let (physical, logical) = match column.kind {
        ColumnType::String => (Physical::BYTE_ARRAY, Some(LogicalType::String)),
        ColumnType::Float => (Physical::DOUBLE, None),
        ColumnType::Integer => (Physical::INT64, None),
        ColumnType::Boolean => (Physical::BOOLEAN, None),
    };
    let field = Type::primitive_type_builder(&column.name, physical)
        .with_repetition(Repetition::OPTIONAL)
        .with_logical_type(logical)
        .build()?;
    Ok(Arc::new(field))
}

/// Writes the next column: the values that there are, and for each row whether there is one.
fn write_column<'a, T: DataType>(
    group: &mut SerializedRowGroupWriter<'_, impl Write + Send>,
    cells: impl Iterator<Item = &'a Cell>,
    value: impl Fn(&Cell) -> Option<T::T>,
) -> Result<(), ParquetError> {
    let (mut values, mut are_there) = (Vec::new(), Vec::new());
    for cell in cells {
        let value = value(cell);
        are_there.push(i16::from(value.is_some()));
        values.extend(value);
    }
    let Some(mut column) = group.next_column()? else {
        return Ok(());
    };
    column
        .typed::<T>()
        .write_batch(&values, Some(&are_there), None)?;
    column.close()
}

#[cfg(test)]
mod tests {
    use super::*;
    use concord_findings::TableSpec;
    use parquet::file::reader::{FileReader, SerializedFileReader};
    use parquet::record::Field;

    const SPEC: TableSpec = TableSpec {
        name: "t",
        about: "a row a thing",
        columns: &[
            Column::string("name", "what it is called"),
            Column::float("p", "how probable it is"),
            Column::integer("n", "how many there are"),
            Column::boolean("good", "whether it is"),
        ],
    };

    #[test]
    fn cells_are_read_back_as_they_were() {
        let mut table = SPEC.table();
        table.push(["".into(), 0.1.into(), 3usize.into(), true.into()]);
        table.push([
            "答え, \"é\"\nb".into(),
            f64::NAN.into(),
            Cell::Missing,
            false.into(),
        ]);
        table.push([Cell::Missing, 1e-300.into(), 0usize.into()]);
        let mut file = tempfile::tempfile().unwrap();
        write_parquet(&table, &[("concord.x", "ü".to_owned())], &mut file).unwrap();
        let reader = SerializedFileReader::new(file).unwrap();
        let known = reader.metadata().file_metadata().key_value_metadata();
        let known = &known.unwrap()[0];
        assert_eq!(
            (known.key.as_str(), known.value.as_deref()),
            ("concord.x", Some("ü"))
        );
        let found = reader.get_row_iter(None).unwrap().map(|row| {
            let row = row.unwrap();
            let cells = row.get_column_iter().map(|(_, field)| match field {
                Field::Str(text) => Cell::from(text.as_str()),
                Field::Double(number) => (*number).into(),
                Field::Long(count) => Cell::Count(u64::try_from(*count).unwrap()),
                Field::Bool(truth) => (*truth).into(),
                Field::Null => Cell::Missing,
                other => panic!("{other:?}"),
            });
            cells.collect::<Vec<_>>()
        });
        assert_eq!(found.collect::<Vec<_>>(), table.rows);
    }

    #[test]
    fn a_table_without_rows_is_a_file() {
        let mut file = tempfile::tempfile().unwrap();
        write_parquet(&SPEC.table(), &[], &mut file).unwrap();
        let reader = SerializedFileReader::new(file).unwrap();
        assert_eq!(reader.get_row_iter(None).unwrap().count(), 0);
    }

    #[test]
    fn a_cell_of_another_type_is_refused() {
        let mut table = SPEC.table();
        table.push(["a".into(), 1usize.into()]);
        let error = write_parquet(&table, &[], &mut Vec::new()).unwrap_err();
        assert!(error.to_string().contains("row 0"), "{error}");
    }
}
