/** Forms by the plural categories of a language (CLDR); "#" stands for the number as it is written there. */
export type Forms<Category extends Intl.LDMLPluralRule> = Readonly<Record<Category, string>>;

/**
 * Chooses the form of a count. A language names exactly its own categories, so that a missing form is a type error.
 * @throws RangeError for a number whose category the language was not given: a mistake in the catalogue.
 */
export function plural<Category extends Intl.LDMLPluralRule>(
  locale: string,
): (count: number, forms: Forms<Category>) => string {
  const rules = new Intl.PluralRules(locale);
  const digits = new Intl.NumberFormat(locale, { useGrouping: "min2" });
  return (count, forms) => {
    const form = (forms as Partial<Record<string, string>>)[rules.select(count)];
    if (form === undefined) throw new RangeError(`no plural form for ${rules.select(count)} in ${locale}`);
    return form.replaceAll("#", digits.format(count));
  };
}
